"""Roles and what they allow, sign-in, and the name under which the command line acts."""

import pytest
from sqlalchemy import text

from core import audit, database, users
from core.audit import LogFilter
from core.errors import UserError
from core.jobs import Jobs
from core.runs import ScoreSettings
from core.store import Store
from core.users import CAPABILITIES, ROLES, User
from tests.unit.workspaces import imported, tiny_dataset, workspace


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.delenv("ASSAY_USER", raising=False)
    return Store(workspace(tmp_path))


def may(store, name, capability):
    with database.reading(store.url) as session:
        try:
            users.require(session, name, capability)
        except UserError:
            return False
        return True


@pytest.mark.parametrize("role", ROLES)
def test_each_role_may_do_exactly_what_its_row_of_the_table_says(store, role):
    store.set_user("kim", role, "local")
    every = set().union(*CAPABILITIES.values())
    assert {capability for capability in every if may(store, "kim", capability)} == CAPABILITIES[role]
    assert {capability for capability in every if User("kim", role).can(capability)} == CAPABILITIES[role]


def test_duties_are_separate():
    assert "release" not in CAPABILITIES["steward"] | CAPABILITIES["adjudicator"]
    assert "edit_policy" not in CAPABILITIES["steward"]
    assert not {"review", "export", "export_outliers"} & CAPABILITIES["executive"]
    assert "export_outliers" not in CAPABILITIES["trainer"]
    assert [role for role in ROLES if "delete" in CAPABILITIES[role]] == ["admin"]
    assert [role for role in ROLES if "manage_users" in CAPABILITIES[role]] == ["admin"]


def test_writes_ask_for_the_role_in_core(store):
    fingerprint = imported(store.settings, tiny_dataset(10))
    for name in ("viewer", "executive", "trainer", "none"):
        store.set_user(name, name, "local")
        with pytest.raises(UserError, match=f"{name} may not do this"):
            store.set_flags(fingerprint, [1], True, name)
    with pytest.raises(UserError, match="executive may not do this"):
        Jobs(store.settings).start_score(fingerprint, ScoreSettings(), "executive")
    with pytest.raises(UserError, match="viewer may not do this"):
        store.import_dataset(tiny_dataset(5, fingerprint="ff" * 8), None, "viewer")
    assert store.flags(fingerprint).empty


def test_a_role_taken_away_is_gone_at_once(store):
    fingerprint = imported(store.settings, tiny_dataset(10))
    store.set_user("sam", "steward", "local")
    assert store.set_flags(fingerprint, [1], True, "sam") == 1
    store.set_user("sam", "none", "local")
    with pytest.raises(UserError, match="sam is none"):
        store.set_flags(fingerprint, [2], True, "sam")


def test_roles_are_logged_and_unchanged_ones_are_not(store):
    store.set_user("Ann@Example.org ", "steward", "local")
    store.set_user("ann@example.ORG", "steward", "local")
    store.set_user("ann@example.org", "executive", "local")
    entries = audit.read_log(store.url, LogFilter(actions=(audit.ROLE,)))
    assert [(e.actor, e.subject, e.before, e.after) for e in reversed(entries)] == [
        ("local", "user:ann@example.org", {"role": None}, {"role": "steward"}),
        ("local", "user:ann@example.org", {"role": "steward"}, {"role": "executive"}),
    ]


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 201, "retention", "a\x00"])
def test_names_that_nobody_has_are_refused(store, name):
    with pytest.raises(UserError):
        store.set_user(name, "steward", "local")


def test_signing_in_finds_the_user_whatever_the_letters(store):
    store.set_user("ann@example.org", "adjudicator", "local")
    assert users.sign_in(store.url, " Ann@Example.org", True, "none") == User("ann@example.org", "adjudicator")


def test_strangers_stay_outside_or_get_the_default_role(store):
    assert users.sign_in(store.url, "eve@example.org", True, "none") is None
    assert [user.name for user in store.users()] == ["local"]
    assert users.sign_in(store.url, "eve@example.org", True, "viewer") == User("eve@example.org", "viewer")
    (entry,) = audit.read_log(store.url)
    assert (entry.actor, entry.subject, entry.after) == ("eve@example.org", "user:eve@example.org", {"role": "viewer"})


def test_nobody_becomes_a_local_user_or_uses_an_unconfirmed_address(store):
    for email, verified in (("local", True), ("", True), ("None", True), ("ann@example.org", False)):
        assert users.sign_in(store.url, email, verified, "viewer") is None


def test_somebody_shut_out_does_not_come_back_by_the_default_role(store):
    store.set_user("eve@example.org", "none", "local")
    assert users.sign_in(store.url, "eve@example.org", True, "viewer") is None
    assert store.user("eve@example.org").role == "none"


def test_on_a_laptop_the_command_line_is_the_local_user(store, monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: "somebody")
    assert users.command_line_user(store.url) == "local"
    with pytest.raises(UserError, match="nobody is not a user"):
        monkeypatch.setenv("ASSAY_USER", "nobody")
        users.command_line_user(store.url)


def test_in_a_shared_workspace_everybody_needs_a_name_of_their_own(store, monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: "somebody")
    store.set_user("ann", "steward", "local")
    with pytest.raises(UserError, match="Set ASSAY_USER"):
        users.command_line_user(store.url)
    monkeypatch.setattr("getpass.getuser", lambda: "ann")
    assert users.command_line_user(store.url) == "ann"
    monkeypatch.setenv("ASSAY_USER", "local")
    assert users.command_line_user(store.url) == "local"


def test_the_migration_turns_reviewers_into_stewards(tmp_path):
    from alembic import command
    from alembic.config import Config

    settings = workspace(tmp_path)
    settings.workspace.mkdir(parents=True)
    config = Config()
    config.set_main_option("script_location", "core/migrations")
    with database.engine(settings.database_url).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        people = "('vera', 'viewer'), ('rita', 'reviewer'), ('sam', 'steward'), ('local', 'admin')"
        connection.execute(
            text(f"INSERT INTO users (name, role, created_at) SELECT *, '2026-01-01' FROM (VALUES {people})")
        )
    store = Store(settings)
    assert {user.name: user.role for user in store.users()} == {
        "vera": "viewer", "rita": "steward", "sam": "steward", "local": "admin",
    }  # fmt: skip
    with database.engine(settings.database_url).begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
        command.upgrade(config, "head")
    assert audit.verify(store.url).ok
