"""The audit log: who did what to what, when, before and after; append-only and hash-chained.

An entry's hash is the SHA-256 of the hash before it, a line feed, and the entry as canonical JSON, so an edited,
removed or moved entry shows. A chain alone cannot show a tail cut off or a log written anew from the start: for
that, keep a head hash somewhere else (reports print it) and give it to `verify` as the anchor.

Nothing that must be deletable goes in here: rows, prompts and remarks about rows are named by id and hash.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, TextIO

from sqlalchemy import ColumnElement, func, insert, or_, select, update
from sqlalchemy.orm import Session

from core import database

# Under this name for others too (`X as X` tells the type checker).
from core.audit_chain import EDITED as EDITED
from core.audit_chain import GENESIS as GENESIS
from core.audit_chain import MISSING as MISSING
from core.audit_chain import NO_ANCHOR as NO_ANCHOR
from core.audit_chain import TAIL_CUT as TAIL_CUT
from core.audit_chain import UNCHAINED as UNCHAINED
from core.audit_chain import Verification as Verification
from core.audit_chain import canonical, entry_hash, stream
from core.audit_chain import verify as verify
from core.rows import printable
from core.tables import AuditHeadRow, AuditRow, utc_now

# What may be done. An action is added here and in components/audit_log.py, where it gets its label.
IMPORT = "import"
SCORE = "score"
FLAG = "flag"
DECISION = "decision"
UNDO = "undo"
ASSIGNMENT = "assignment"
ADJUDICATION = "adjudication"
JUDGEMENT = "judgement"
POLICY = "policy"
RELEASE = "release"
OVERRULE = "overrule"
PROBE = "probe"
JOB = "job"
EXPORT = "export"
RETENTION = "retention"
DELETE = "delete"
ROLE = "role"
ACTIONS = (
    IMPORT, SCORE, FLAG, DECISION, UNDO, ASSIGNMENT, ADJUDICATION, JUDGEMENT, POLICY, RELEASE, OVERRULE, PROBE, JOB,
    EXPORT, RETENTION, DELETE, ROLE,
)  # fmt: skip

# What is done because a time has come is nobody's doing.
RETENTION_ACTOR = "retention"


@dataclass(frozen=True)
class Change:
    """One thing that was changed, for `append_many`; fields as in `append`."""

    subject: str
    before: Any = None
    after: Any = None
    note: str = ""


@dataclass(frozen=True)
class Entry:
    """One entry of the log; `time` is UTC in ISO 8601, `before` and `after` are JSON values."""

    seq: int
    time: str
    actor: str
    action: str
    subject: str
    before: Any
    after: Any
    note: str
    previous: str
    hash: str

    @property
    def moment(self) -> datetime:
        """The time as an aware datetime."""
        return datetime.fromisoformat(self.time)


@dataclass(frozen=True)
class LogFilter:
    """Which entries to read; what is left out does not limit.

    Parameters
    ----------
    actors, actions : tuple of str
        Any of these.
    subject : str
        This subject or anything in it: a dataset's fingerprint finds its rows, scores and probes too.
    since, until : datetime or None
        From (inclusive) and up to (exclusive), aware.
    """

    actors: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    subject: str = ""
    since: datetime | None = None
    until: datetime | None = None


EVERYTHING = LogFilter()


def row_subject(fingerprint: str, row_id: int) -> str:
    """Name a row of a dataset; the dataset itself is named by its fingerprint."""
    return f"{fingerprint}/row:{row_id}"


def part_subject(fingerprint: str, kind: str, identity: str) -> str:
    """Name something that belongs to a dataset: a run, a probe, a job."""
    return f"{fingerprint}/{kind}:{identity}"


def user_subject(name: str) -> str:
    """Name a person."""
    return f"user:{name}"


def text_hash(text: str) -> str:
    """Stand for text that may have to be deleted some day; "" stays ""."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest() if text else ""


def append(
    session: Session, *, actor: str, action: str, subject: str, before: Any = None, after: Any = None, note: str = ""
) -> str:
    """Write one entry in the caller's writing transaction (`core.database.writing`).

    Call it after the writes it tells of: on PostgreSQL it holds the log's head until the commit, so whoever comes
    later with row locks still to take would make others wait, or wait in a circle.

    Parameters
    ----------
    session : Session
        Open writing transaction; the entry lives or dies with it.
    actor : str
        Who; a user's name.
    action : str
        One of `ACTIONS`.
    subject : str
        To what: a fingerprint, or one of the ``*_subject`` names.
    before, after : JSON value
        State, in ids, counts, settings and hashes. Never the text of a row.
    note : str
        Why, for acts of administration. For remarks on rows give `text_hash` in `after`.

    Returns
    -------
    str
        The entry's hash, which is the new head.
    """
    return append_many(session, actor=actor, action=action, changes=[Change(subject, before, after, note)])


def append_many(session: Session, *, actor: str, action: str, changes: Iterable[Change]) -> str:
    """Write one entry a change, in order; as `append` otherwise.

    Returns
    -------
    str
        The head hash, new or, without changes, as it was.
    """
    if action not in ACTIONS:
        raise ValueError(f"not an action: {action!r}")
    # Locks the head: writers take turns. SQLite's writers do so from the beginning of their transactions.
    query = select(AuditHeadRow.seq, AuditHeadRow.hash).where(AuditHeadRow.id == 1)
    seq, previous = session.execute(query.with_for_update()).one()
    rows: list[dict[str, Any]] = []
    for change in changes:
        seq += 1
        row: dict[str, Any] = {
            "seq": seq,
            "time": utc_now().isoformat(timespec="microseconds"),
            "actor": _storable(actor),
            "action": action,
            "subject": _storable(change.subject),
            "before": canonical(change.before),
            "after": canonical(change.after),
            "note": _storable(change.note),
        }
        rows.append({**row, "previous": previous, "hash": entry_hash(previous, row)})
        previous = rows[-1]["hash"]
    if rows:
        session.execute(insert(AuditRow), rows)
        session.execute(update(AuditHeadRow).where(AuditHeadRow.id == 1).values(seq=seq, hash=previous))
    return str(previous)


def head(url: str) -> str:
    """Return the hash of the last entry (`GENESIS` of an empty log)."""
    with database.reading(url) as session:
        return str(session.scalar(select(AuditHeadRow.hash).where(AuditHeadRow.id == 1)))


def read_log(url: str, chosen: LogFilter = EVERYTHING, limit: int = 100, offset: int = 0) -> list[Entry]:
    """Return entries, newest first."""
    query = _filtered(select(AuditRow), chosen).order_by(AuditRow.seq.desc())
    with database.reading(url) as session:
        return [_entry(row) for row in session.scalars(query.limit(limit).offset(offset))]


def count_log(url: str, chosen: LogFilter = EVERYTHING) -> int:
    """Return how many entries a filter finds."""
    with database.reading(url) as session:
        return int(session.scalar(_filtered(select(func.count()).select_from(AuditRow), chosen)) or 0)


def actors(url: str) -> list[str]:
    """Return everybody who is in the log, by name."""
    with database.reading(url) as session:
        return list(session.scalars(select(AuditRow.actor).distinct().order_by(AuditRow.actor)))


def export_jsonl(url: str, file: TextIO, chosen: LogFilter = EVERYTHING) -> int:
    """Write entries as JSON Lines, oldest first, each with its hash and the one before.

    Returns
    -------
    int
        How many.
    """
    count = 0
    with database.reading(url) as session:
        for row in stream(session, _filtered(select(AuditRow), chosen).order_by(AuditRow.seq)):
            file.write(json.dumps(asdict(_entry(row)), ensure_ascii=True) + "\n")
            count += 1
    return count


def _storable(text: str) -> str:
    # PostgreSQL keeps neither NUL nor half characters.
    return printable(text).replace("\x00", "\\x00")


def _entry(row: AuditRow) -> Entry:
    values = {name: getattr(row, name) for name in Entry.__dataclass_fields__}
    return Entry(**values | {name: json.loads(values[name]) for name in ("before", "after")})


def _filtered(query: Any, chosen: LogFilter) -> Any:
    conditions: list[ColumnElement[bool]] = []
    if chosen.actors:
        conditions.append(AuditRow.actor.in_(chosen.actors))
    if chosen.actions:
        conditions.append(AuditRow.action.in_(chosen.actions))
    if chosen.subject:
        inside = AuditRow.subject.startswith(f"{chosen.subject}/", autoescape=True)
        conditions.append(or_(AuditRow.subject == chosen.subject, inside))
    # Times are text of one form and one zone, so they compare as text.
    if chosen.since:
        conditions.append(AuditRow.time >= _utc_text(chosen.since))
    if chosen.until:
        conditions.append(AuditRow.time < _utc_text(chosen.until))
    return query.where(*conditions)


def _utc_text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
