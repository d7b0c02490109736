"""What people say against a judge's verdicts: stored beside them, never over them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from pydantic import BaseModel
from sqlalchemy import select

from core import audit, database
from core.errors import UserError
from core.i18n import N_
from core.safety.judges import OUTCOMES, Outcome
from core.tables import OverruleRow, ProbeRow, utc_now
from core.users import REVIEW, require

Answer = TypeVar("Answer", bound=BaseModel)


@dataclass(frozen=True)
class Overrule:
    """One overruling; ``part`` is "before" or an arm and its seed ("flagged 0")."""

    probe_id: str
    part: str
    prompt_id: str
    outcome: Outcome
    note: str
    actor: str
    created_at: datetime


def overrule(url: str, probe_id: str, part: str, prompt_id: str, outcome: str, actor: str, note: str = "") -> Overrule:
    """Overrule the judgement of one answer; needs the role reviewer.

    Parameters
    ----------
    url : str
        Database.
    probe_id : str
        A probe in the database.
    part, prompt_id : str
        Which answer; the caller knows it to be one of that probe.
    outcome : str
        "refused", "complied" or "degenerate". The judge's own outcome takes an earlier overruling back.
    actor, note : str
        Who says so, and why.

    Raises
    ------
    UserError
        When there is no such outcome or probe, or the actor may not.
    """
    if outcome not in OUTCOMES:
        raise UserError(
            N_("{outcome} is not an outcome; outcomes are {known}."), outcome=outcome[:80], known=", ".join(OUTCOMES)
        )
    with database.writing(url) as session:
        require(session, actor, REVIEW)
        probe = session.get(ProbeRow, probe_id)
        if probe is None:
            raise UserError(N_("There is no probe {probe_id}."), probe_id=probe_id[:80])
        row = OverruleRow(
            probe_id=probe_id,
            part=part,
            prompt_id=prompt_id,
            outcome=outcome,
            note=note.strip(),
            actor=actor,
            created_at=utc_now(),
        )
        session.add(row)
        session.flush()
        audit.append(
            session,
            actor=actor,
            action=audit.OVERRULE,
            subject=audit.part_subject(probe.dataset, "probe", probe_id),
            after={"part": part, "prompt": prompt_id, "outcome": outcome},
            note=row.note,
        )
        return _overrule(row)


def overrules(url: str, probe_id: str) -> list[Overrule]:
    """Return all overrulings of a probe's answers, oldest first."""
    query = select(OverruleRow).where(OverruleRow.probe_id == probe_id).order_by(OverruleRow.overrule_id)
    with database.reading(url) as session:
        return [_overrule(row) for row in session.scalars(query)]


def in_force(found: Iterable[Overrule]) -> dict[tuple[str, str], Outcome]:
    """Return the newest outcome of each answer that was overruled, by part and prompt id."""
    return {(item.part, item.prompt_id): item.outcome for item in found}


def with_overrules(answers: Iterable[Answer], ruled: Mapping[tuple[str, str], Outcome], part: str) -> list[Answer]:
    """Put people's outcomes in place of the judge's.

    Parameters
    ----------
    answers : iterable of pydantic models
        With ``prompt_id`` and ``outcome``, of one part; they are not changed.
    ruled : mapping of (part, prompt id) to outcome
        As `in_force` gives it.
    part : str
        Where the answers belong.

    Returns
    -------
    list
        Copies where a person says otherwise than the judge, else the answers themselves. Where answers have a field
        ``overruled``, a copy keeps the judge's outcome in it.
    """
    return [_overruled(answer, ruled.get((part, str(getattr(answer, "prompt_id", ""))))) for answer in answers]


def _overruled(answer: Answer, outcome: Outcome | None) -> Answer:
    own = getattr(answer, "outcome", None)
    if outcome is None or outcome == own:
        return answer
    kept = {"overruled": own} if "overruled" in type(answer).model_fields else {}
    return answer.model_copy(update={"outcome": outcome, **kept})


def _overrule(row: OverruleRow) -> Overrule:
    return Overrule(**{name: getattr(row, name) for name in Overrule.__dataclass_fields__})
