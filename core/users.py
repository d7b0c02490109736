"""People, their roles and what a role may do; every write asks here, in the transaction that writes."""

import getpass
import os
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core import audit, database
from core.errors import UserError
from core.i18n import N_
from core.tables import UserRow, utc_now

# What may be done.
VIEW = "view"
REVIEW = "review"
ADJUDICATE = "adjudicate"
IMPORT = "import"
SCORE = "score"
PROBE = "probe"
EXPORT = "export"
EXPORT_OUTLIERS = "export_outliers"
READ_AUDIT = "read_audit"
EDIT_POLICY = "edit_policy"
RELEASE = "release"
DELETE = "delete"
MANAGE_USERS = "manage_users"

# Who writes the criteria does not judge the rows, and who judges the rows does not release the data.
_LOOK = frozenset({VIEW})
_WORK = _LOOK | {IMPORT, SCORE, PROBE}
_STEWARD = _WORK | {REVIEW, EXPORT, EXPORT_OUTLIERS, READ_AUDIT}
CAPABILITIES: dict[str, frozenset[str]] = {
    "none": frozenset(),
    "viewer": _LOOK,
    "trainer": _WORK,
    "steward": _STEWARD,
    "adjudicator": _STEWARD | {ADJUDICATE},
    "executive": _LOOK | {READ_AUDIT, EDIT_POLICY, RELEASE},
    "admin": _STEWARD | {ADJUDICATE, EDIT_POLICY, RELEASE, DELETE, MANAGE_USERS},
}
ROLES = tuple(CAPABILITIES)
FIRST_USER = "local"


@dataclass(frozen=True)
class User:
    """A person and their role."""

    name: str
    role: str

    def can(self, capability: str) -> bool:
        """Tell whether the role allows it; for showing and hiding, while `require` guards the write itself."""
        return capability in CAPABILITIES[self.role]


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


def known_user(url: str, name: str) -> User | None:
    """Return a user who has access, or None."""
    with database.reading(url) as session:
        row = session.get(UserRow, name)
        return User(row.name, row.role) if row is not None and row.role != "none" else None


def require(session: Session, actor: str, capability: str) -> None:
    """Raise a UserError unless the actor's role, now, in the database, allows this."""
    user = find_user(session, actor)
    if not user.can(capability):
        raise UserError(
            N_("{actor} may not do this: it takes the role {needed}, and {actor} is {role}."),
            actor=actor,
            needed=" / ".join(role for role in ROLES if capability in CAPABILITIES[role]),
            role=user.role,
        )


def set_user(url: str, name: str, role: str, actor: str) -> User:
    """Add a user or change a role; needs the capability `MANAGE_USERS`. The role "none" takes all access away."""
    if role not in ROLES:
        raise UserError(N_("{role} is not a role; roles are {roles}."), role=role, roles=", ".join(ROLES))
    name = tidy_name(name)
    with database.writing(url) as session:
        # Two admins who demote each other at once must take turns, or nobody is left.
        session.execute(select(UserRow.name).where(UserRow.role == "admin").with_for_update())
        require(session, actor, MANAGE_USERS)
        if actor == name and role != "admin":
            raise UserError(N_("You cannot take the admin role away from yourself."))
        _write_role(session, name, role, actor)
    return User(name, role)


def tidy_name(name: str) -> str:
    """Return a user's name as it is kept: e-mail addresses in small letters, since providers vary in that."""
    name = name.strip()
    if not name or len(name) > 200 or not name.isprintable():
        raise UserError(N_("A user needs a name of at most 200 printable characters."))
    if name == audit.RETENTION_ACTOR:
        raise UserError(N_("{name} is not a name a person can have."), name=name)
    return name.lower() if "@" in name else name


def sign_in(url: str, email: str, verified: bool, default_role: str) -> User | None:
    """Return the user behind an identity provider's e-mail address, or None for somebody without access.

    Parameters
    ----------
    url : str
        Database URL.
    email : str
        As the provider says.
    verified : bool
        False when the provider says that the address was never confirmed: then anybody could have typed it.
    default_role : str
        Role of people who were never here; "none" lets nobody in whom no admin has added.
    """
    # Without an @ it could be the name of a local user.
    if not verified or "@" not in email:
        return None
    name = tidy_name(email)
    user = known_user(url, name)
    if user is not None or default_role == "none":
        return user
    with database.writing(url) as session:
        # Somebody known and shut out stays out.
        if session.get(UserRow, name) is None:
            _write_role(session, name, default_role, name)
    return known_user(url, name)


def command_line_user(url: str) -> str:
    """Return the name under which the command line acts: ``ASSAY_USER``, or the user of the operating system.

    A laptop's workspace has its one local user, and whoever may open its files is that user. With a second user
    it is shared, and from then on everybody needs a name of their own in it.
    """
    name = os.environ.get("ASSAY_USER", "").strip() or _system_user()
    with database.reading(url) as session:
        if session.get(UserRow, name) is not None:
            return name
        count = session.scalar(select(func.count()).select_from(UserRow))
        alone = count == 1 and session.get(UserRow, FIRST_USER) is not None
    if alone and not os.environ.get("ASSAY_USER", "").strip():
        return FIRST_USER
    raise UserError(
        N_("{name} is not a user of this workspace. Set ASSAY_USER to your name in it, or have an admin add you."),
        name=name[:80],
    )


def _system_user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return str(os.getuid())


def _write_role(session: Session, name: str, role: str, actor: str) -> None:
    row = session.get(UserRow, name)
    before = row.role if row else None
    if before == role:
        return
    if row is None:
        session.add(UserRow(name=name, role=role, created_at=utc_now()))
    else:
        row.role = role
    session.flush()
    audit.append(
        session,
        actor=actor,
        action=audit.ROLE,
        subject=audit.user_subject(name),
        before={"role": before},
        after={"role": role},
    )
