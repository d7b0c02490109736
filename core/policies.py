"""Stop criteria in the database: every version with who wrote it, when and why; the newest is in force."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from core import audit, database
from core.errors import UserError
from core.i18n import N_
from core.policy import DEFAULT_POLICY, Policy
from core.tables import PolicyRow, utc_now
from core.users import EDIT_POLICY, require


@dataclass(frozen=True)
class PolicyRecord:
    """A version; version 0 is what ships with Assay and was written by nobody here."""

    version: int
    policy: Policy
    reason: str
    actor: str
    created_at: datetime | None


SHIPPED = PolicyRecord(0, DEFAULT_POLICY, "", "", None)


def policies(url: str) -> list[PolicyRecord]:
    """Return all versions, the one in force first."""
    with database.reading(url) as session:
        rows = session.scalars(select(PolicyRow).order_by(PolicyRow.version.desc())).all()
    found = [PolicyRecord(r.version, Policy.model_validate(r.content), r.reason, r.actor, r.created_at) for r in rows]
    return [*found, SHIPPED]


def policy_in_force(url: str) -> PolicyRecord:
    """Return the newest version."""
    return policies(url)[0]


def save_policy(url: str, policy: Policy, reason: str, actor: str) -> PolicyRecord:
    """Put stop criteria in force; needs the right to edit them, and a reason."""
    if not reason.strip():
        raise UserError(N_("Say why the stop criteria change."))
    with database.writing(url) as session:
        require(session, actor, EDIT_POLICY)
        newest = session.scalar(select(PolicyRow.version).order_by(PolicyRow.version.desc()).limit(1)) or 0
        row = PolicyRow(
            version=newest + 1,
            content=policy.model_dump(mode="json"),
            reason=reason.strip(),
            actor=actor,
            created_at=utc_now(),
        )
        session.add(row)
        audit.append(
            session,
            actor=actor,
            action=audit.POLICY,
            subject=f"version {row.version}",
            before={"version": newest},
            after=row.content,
            note=row.reason,
        )
    return PolicyRecord(row.version, policy, row.reason, actor, row.created_at)
