"""Release decisions: a person's signed yes or no beside the computed verdict, and whether it still holds."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select

from core import audit, database
from core.errors import UserError
from core.i18n import N_
from core.tables import ReleaseRow, utc_now
from core.users import RELEASE, require

# How a decision stands to the verdict.
AS_VERDICT, STRICTER, LAXER = (
    N_("In line with the verdict"),
    N_("Stricter than the verdict"),
    N_("Laxer than the verdict"),
)


@dataclass(frozen=True)
class Basis:
    """What a verdict rests on; another value of any of these makes it stale."""

    dataset: str
    decisions: str
    policy_version: int
    model_id: str
    target_model: str | None

    def values(self) -> dict[str, Any]:
        """Return the values as JSON has them."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class Release:
    """A signed decision."""

    release_id: int
    dataset: str
    probe_id: str
    released: bool
    signed_by: str
    signed_role: str
    reason: str
    accepted_risk: str
    verdict: str
    basis: Basis
    actor: str
    created_at: datetime

    @property
    def stance(self) -> str:
        """How it stands to the verdict of its time."""
        if self.released:
            return AS_VERDICT if self.verdict == "GO" else LAXER
        return STRICTER if self.verdict == "GO" else AS_VERDICT


def decisions_hash(flagged: Sequence[int]) -> str:
    """Hash the rows marked for exclusion (16 hex digits): a result is stale once they are others."""
    return hashlib.sha256(",".join(map(str, sorted(set(flagged)))).encode()).hexdigest()[:16]


STALE = {
    "dataset": N_("the dataset is another one"),
    "decisions": N_("the decisions on rows have changed"),
    "policy_version": N_("the stop criteria have changed"),
    "model_id": N_("the probed model is another one"),
    "target_model": N_("the target model has changed"),
}


def stale(then: Basis, now: Basis) -> list[str]:
    """Return why what was decided then does not hold now (English message ids); nothing when it holds."""
    before, after = then.values(), now.values()
    return [reason for name, reason in STALE.items() if before[name] != after[name]]


def sign(
    url: str,
    *,
    dataset: str,
    probe_id: str,
    released: bool,
    signed_by: str,
    signed_role: str,
    reason: str,
    accepted_risk: str,
    verdict: str,
    basis: Basis,
    actor: str,
) -> Release:
    """Sign a release decision; it needs a name, a reason, and the accepted risk where it goes beyond the verdict."""
    if not signed_by.strip() or not reason.strip():
        raise UserError(N_("A release decision needs a name and a reason."))
    if released and verdict != "GO" and not accepted_risk.strip():
        raise UserError(N_("The verdict is {verdict}: name the risk that you accept."), verdict=verdict)
    with database.writing(url) as session:
        require(session, actor, RELEASE)
        row = ReleaseRow(
            dataset=dataset,
            probe_id=probe_id,
            released=released,
            signed_by=signed_by.strip(),
            signed_role=signed_role.strip(),
            reason=reason.strip(),
            accepted_risk=accepted_risk.strip(),
            verdict=verdict,
            basis=basis.values(),
            actor=actor,
            created_at=utc_now(),
        )
        session.add(row)
        audit.append(
            session,
            actor=actor,
            action=audit.RELEASE,
            subject=dataset,
            after={"probe": probe_id, "released": released, "verdict": verdict, **row.basis},
            note=row.reason,
        )
    return _release(row)


def releases(url: str, dataset: str) -> list[Release]:
    """Return a dataset's release decisions, newest first."""
    query = select(ReleaseRow).where(ReleaseRow.dataset == dataset).order_by(ReleaseRow.release_id.desc())
    with database.reading(url) as session:
        return [_release(row) for row in session.scalars(query)]


def _release(row: ReleaseRow) -> Release:
    values = {name: getattr(row, name) for name in Release.__dataclass_fields__ if name != "basis"}
    return Release(**values, basis=Basis(**row.basis))
