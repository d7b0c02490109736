"""The audit page and what it says about entries."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from streamlit.testing.v1 import AppTest

from components.audit_log import ACTION_NAMES, change_text, subject_text
from core import audit
from core.audit import Entry
from core.store import Store

OpenApp = Callable[..., AppTest]


def entry(before: object, after: object) -> Entry:
    return Entry(1, datetime.now(UTC).isoformat(), "ann", "flag", "x", before, after, "", "", "")


@pytest.mark.parametrize(
    "before, after, text",
    [
        ({"flagged": False, "same": 1}, {"flagged": True, "same": 1}, "flagged: false → true"),
        (None, {"rows": 3, "format": "csv"}, "rows: 3 · format: csv"),
        ({"rows": 3}, None, "rows: 3 → –"),
        ({"days": None}, {"days": 30}, "days: 30"),
        ({"days": 30}, {"days": None}, "days: 30 → –"),
        (None, None, ""),
        ("keep", "exclude", "keep → exclude"),
    ],
)
def test_a_change_is_said_value_by_value(before: object, after: object, text: str) -> None:
    assert change_text(entry(before, after)) == text


def test_subjects_are_named_while_they_are_there() -> None:
    names = {"ab": "my data"}
    assert subject_text("ab", names) == "my data"
    assert subject_text(audit.row_subject("ab", 7), names) == "my data · row 7"
    assert subject_text(audit.part_subject("cd", "probe", "1234567890abcdef"), names) == "cd · probe 1234567890ab"
    assert subject_text(audit.user_subject("ann"), names) == "ann"


def test_every_action_has_a_name() -> None:
    assert set(ACTION_NAMES) == set(audit.ACTIONS)


def test_the_log_is_listed_filtered_and_checked(open_app: OpenApp, store: Store, sample: str) -> None:
    store.set_flags(sample, [3, 4, 5], True, "local", note="odd")
    app = open_app("audit", dataset=sample)
    assert app.title[0].value == "Audit log"
    table = app.dataframe[0].value
    assert table["action"].tolist()[:3] == ["Flag"] * 3
    assert table["subject"].tolist()[:3] == [f"{store.dataset(sample).name} · row {i}" for i in (5, 4, 3)]
    assert table["change"].tolist()[0].startswith("flagged: false → true")
    assert app.code[0].value == audit.head(store.url) == table["hash"][0]

    app.multiselect(key="audit_actions").set_value(["import"]).run()
    assert set(app.dataframe[0].value["action"]) == {"Import"}
    app.multiselect(key="audit_actions").set_value([])
    app.selectbox(key="audit_subject").set_value(sample).run()
    app.number_input(key="audit_row").set_value(4).run()
    assert set(app.dataframe[0].value["subject"]) == {f"{store.dataset(sample).name} · row 4"}

    app.button(key="audit_verify").click().run()
    assert "The chain is whole" in app.success[0].value
    app.text_input(key="audit_anchor").set_value(audit.head(store.url))
    app.button(key="audit_verify").click().run()
    assert "holds the anchor" in app.success[0].value
    app.text_input(key="audit_anchor").set_value("ab" * 32)
    app.button(key="audit_verify").click().run()
    assert "The anchor is not in the log" in app.error[0].value
    app.text_input(key="audit_anchor").set_value("abc")
    app.button(key="audit_verify").click().run()
    assert "not a head hash" in app.error[0].value
    assert not app.exception


def test_long_logs_come_in_pages(open_app: OpenApp, store: Store, sample: str) -> None:
    store.set_flags(sample, range(120), True, "local")
    app = open_app("audit")
    total = audit.count_log(store.url)
    first = app.dataframe[0].value["seq"].tolist()
    assert first == list(range(total, total - 100, -1))
    pages = next(field for field in app.number_input if field.label.startswith("Page"))
    pages.set_value(2).run()
    assert app.dataframe[0].value["seq"].tolist() == list(range(total - 100, max(0, total - 200), -1))
