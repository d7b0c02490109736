"""The chain of the audit log: an entry's hash, and checking that every entry continues the one before."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from core import database
from core.errors import UserError
from core.i18n import N_
from core.tables import AuditHeadRow, AuditRow

GENESIS = "0" * 64
EDITED = N_("The entry does not match its hash: it was edited, moved or put in later.")
MISSING = N_("An entry is missing before this one, or entries changed places.")
UNCHAINED = N_("The entry does not continue the one before it: that one was replaced.")
TAIL_CUT = N_("The log ends before its recorded head: entries at the end were removed or replaced.")
NO_ANCHOR = N_("The anchor is not in the log: entries at the end were cut off, or the log was written anew.")


@dataclass(frozen=True)
class Verification:
    """What checking the chain found.

    Parameters
    ----------
    ok : bool
        Whether every entry checked continues the one before, and the anchor is among them.
    checked : int
        Entries looked at.
    head : str
        Hash of the last good entry.
    bad_seq : int or None
        Number of the first entry that is wrong, or where one is missing; None when the anchor alone is missing.
    problem : str
        An English message id; "" when all is well.
    """

    ok: bool
    checked: int
    head: str
    bad_seq: int | None = None
    problem: str = ""


def verify(url: str, anchor: str | None = None) -> Verification:
    """Check every entry against its hash and the entry before it.

    Parameters
    ----------
    url : str
        Database URL.
    anchor : str, optional
        A head hash noted at some earlier time; it must still be in the log.

    Raises
    ------
    UserError
        The anchor is not a hash.
    """
    wanted = _checked_anchor(anchor)
    checked, previous, found = 0, GENESIS, wanted in (None, GENESIS)
    with database.reading(url) as session:
        # The head first: entries written while we read lie behind it.
        head_seq, head_hash = session.execute(select(AuditHeadRow.seq, AuditHeadRow.hash)).one()
        for row in stream(session, select(AuditRow).order_by(AuditRow.seq)):
            problem = _problem(row, checked + 1, previous)
            if not problem and row.seq == head_seq and row.hash != head_hash:
                problem = TAIL_CUT
            if problem:
                return Verification(False, checked, previous, min(row.seq, checked + 1), problem)
            checked, previous = checked + 1, row.hash
            found = found or previous == wanted
    if checked < head_seq:
        return Verification(False, checked, previous, checked + 1, TAIL_CUT)
    if not found:
        return Verification(False, checked, previous, None, NO_ANCHOR)
    return Verification(True, checked, previous)


def stream(session: Session, query: Select[AuditRow]) -> Iterator[AuditRow]:
    """Yield entries without holding the whole log in memory."""
    yield from session.scalars(query.execution_options(yield_per=2000))


def _problem(row: AuditRow, expected_seq: int, previous: str) -> str:
    if row.seq != expected_seq:
        return MISSING
    values = {name: getattr(row, name) for name in _HASHED}
    try:
        intact = entry_hash(row.previous, values) == row.hash
    except ValueError:  # what was put in is not even JSON
        intact = False
    if not intact:
        return EDITED
    return "" if row.previous == previous else UNCHAINED


_HASHED = ("seq", "time", "actor", "action", "subject", "before", "after", "note")


def entry_hash(previous: str, row: dict[str, Any]) -> str:
    """Return an entry's hash; `row` has the columns `_HASHED`, before and after as canonical JSON."""
    values = row | {name: json.loads(row[name]) for name in ("before", "after")}
    return hashlib.sha256(f"{previous}\n{_dumps(values)}".encode("ascii")).hexdigest()


def _dumps(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False)


def canonical(value: Any) -> str:
    """Return a JSON value as the text that is kept and hashed."""
    # Twice: keys that are numbers sort otherwise than the text they become, or not at all.
    return _dumps(json.loads(json.dumps(value, allow_nan=False)))


def _checked_anchor(anchor: str | None) -> str | None:
    if anchor is None or not anchor.strip():
        return None
    text = anchor.strip().lower()
    if len(text) != 64 or not set(text) <= set("0123456789abcdef"):
        raise UserError(N_("“{anchor}” is not a head hash; one has 64 hexadecimal digits."), anchor=anchor[:80])
    return text
