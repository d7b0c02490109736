"""People and their roles; every write asks here, in the transaction that writes."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from core import database
from core.errors import UserError
from core.i18n import N_
from core.tables import UserRow, utc_now

# Each may do what those before it may: look; flag rows; import, score and probe; manage people.
ROLES = ("viewer", "reviewer", "steward", "admin")
FIRST_USER = "local"


@dataclass(frozen=True)
class User:
    """A person and their role."""

    name: str
    role: str


def add_first_user(url: str) -> None:
    """Make the one local user of a new workspace, an admin."""
    with database.reading(url) as session:
        if session.scalar(select(UserRow.name).limit(1)) is not None:
            return
    with database.writing(url) as session:
        first = database.insert_into(session, UserRow)
        first = first.values(name=FIRST_USER, role="admin", created_at=utc_now())
        session.execute(first.on_conflict_do_nothing())


def find_user(session: Session, name: str) -> User:
    """Return a user; an unknown name is a UserError."""
    row = session.get(UserRow, name)
    if row is None:
        raise UserError(N_("{name} is not a user of this workspace; an admin can add them."), name=name[:80])
    return User(row.name, row.role)


def require_role(session: Session, actor: str, role: str) -> None:
    """Raise a UserError unless the actor has this role or a higher one, now, in the database."""
    user = find_user(session, actor)
    if ROLES.index(user.role) < ROLES.index(role):
        raise UserError(
            N_("{actor} may not do this: it takes the role {needed}, and {actor} is {role}."),
            actor=actor,
            needed=role,
            role=user.role,
        )


def set_user(url: str, name: str, role: str, actor: str) -> User:
    """Add a user or change a role; admins only."""
    if role not in ROLES:
        raise UserError(N_("{role} is not a role; roles are {roles}."), role=role, roles=", ".join(ROLES))
    if not name.strip():
        raise UserError(N_("A user needs a name."))
    with database.writing(url) as session:
        require_role(session, actor, "admin")
        if actor == name and role != "admin":
            raise UserError(N_("You cannot take the admin role away from yourself."))
        row = session.get(UserRow, name)
        if row is None:
            session.add(UserRow(name=name, role=role, created_at=utc_now()))
        else:
            row.role = role
    return User(name, role)
