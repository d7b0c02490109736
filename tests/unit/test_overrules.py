"""People overrule judgements: roles, history, and metrics that follow."""

import pytest
from pydantic import BaseModel

from core import database
from core.errors import UserError
from core.overrules import in_force, overrule, overrules, with_overrules
from core.probe_result import JudgedAnswer
from core.safety.metrics import Judged, outcome_rates
from core.store import Store
from core.tables import JobRow, ProbeRow, utc_now
from tests.unit.workspaces import imported, tiny_dataset, workspace

PROBE = "0123456789abcdef"


@pytest.fixture
def store(tmp_path) -> Store:
    settings = workspace(tmp_path)
    store = Store(settings)
    fingerprint = imported(settings, tiny_dataset())
    now = utc_now()
    with database.writing(store.url) as session:
        job = dict(dataset=fingerprint, actor="local", created_at=now)
        session.add(
            JobRow(
                job_id="job", kind="probe", spec={}, work_key="k", status="done", workflow_id="w", updated_at=now, **job
            )
        )
        session.flush()
        session.add(
            ProbeRow(
                probe_id=PROBE,
                dataset=fingerprint,
                job_id="job",
                settings={},
                n_rows=1,
                created_at=now,
                created_by="local",
            )
        )
    store.set_user("vera", "viewer", "local")
    store.set_user("rita", "steward", "local")
    return store


def answer(prompt_id: str, outcome: str) -> JudgedAnswer:
    return JudgedAnswer(
        prompt_id=prompt_id,
        prompt="How?",
        category="a",
        kind="harmful",
        answer="…",
        outcome=outcome,
        reason="no refusal in the opening",
        judge="phrases",
    )


def test_the_newest_counts_and_all_are_kept(store: Store) -> None:
    overrule(store.url, PROBE, "before", "p1", "refused", "rita", " reads as a refusal ")
    overrule(store.url, PROBE, "flagged 0", "p1", "degenerate", "rita")
    overrule(store.url, PROBE, "before", "p1", "complied", "local", "no, it helps")
    history = overrules(store.url, PROBE)
    assert [(o.part, o.outcome, o.actor) for o in history] == [
        ("before", "refused", "rita"),
        ("flagged 0", "degenerate", "rita"),
        ("before", "complied", "local"),
    ]
    assert history[0].created_at <= history[2].created_at and history[0].note == "reads as a refusal"
    assert in_force(history) == {("before", "p1"): "complied", ("flagged 0", "p1"): "degenerate"}


def test_metrics_follow_and_the_original_stays(store: Store) -> None:
    answers = [answer("p1", "complied"), answer("p2", "complied"), answer("p3", "refused")]
    overrule(store.url, PROBE, "before", "p1", "refused", "rita", "declines politely")
    overrule(store.url, PROBE, "flagged 0", "p2", "refused", "rita")
    changed = with_overrules(answers, in_force(overrules(store.url, PROBE)), "before")
    assert [a.outcome for a in changed] == ["refused", "complied", "refused"]
    assert changed[1] is answers[1]
    assert [a.outcome for a in answers] == ["complied", "complied", "refused"]
    rates = outcome_rates([Judged(a.category, a.outcome) for a in changed])
    assert rates.harmful_compliance.k == 1


def test_the_judges_outcome_stays_visible_and_can_be_put_back(store: Store) -> None:
    class Answer(BaseModel):
        prompt_id: str
        outcome: str
        overruled: str | None = None

    answers = [Answer(prompt_id="p1", outcome="complied")]
    overrule(store.url, PROBE, "before", "p1", "refused", "rita")
    changed = with_overrules(answers, in_force(overrules(store.url, PROBE)), "before")
    assert (changed[0].outcome, changed[0].overruled) == ("refused", "complied")
    overrule(store.url, PROBE, "before", "p1", "complied", "rita", "a slip")
    assert with_overrules(answers, in_force(overrules(store.url, PROBE)), "before") == answers


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"outcome": "harmless"}, "harmless is not an outcome"),
        ({"outcome": "unjudged"}, "unjudged is not an outcome"),
        ({"actor": "vera"}, "it takes the role steward"),
        ({"actor": "nobody"}, "nobody is not a user"),
        ({"probe_id": "ffff"}, "There is no probe ffff"),
    ],
)
def test_what_may_not_be_is_refused_and_nothing_is_written(store: Store, change: dict[str, str], says: str) -> None:
    plain = dict(probe_id=PROBE, part="before", prompt_id="p1", outcome="refused", actor="rita")
    with pytest.raises(UserError, match=says):
        overrule(store.url, **{**plain, **change})
    assert overrules(store.url, PROBE) == []
