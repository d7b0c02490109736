"""Who is let in, which pages they find, and what they may do."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core.settings import Settings
from core.store import Store

OpenApp = Callable[..., AppTest]
ROOT = Path(__file__).parents[2]


def open_as(settings: Settings, dataset: str = "", **claims: Any) -> AppTest:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    app.query_params["lang"] = "en"
    if dataset:
        app.query_params["dataset"] = dataset
    app.user = {"is_logged_in": True, **claims}
    app.secrets["auth"] = {"client_id": "x", "redirect_uri": "http://localhost/oauth2callback"}
    return app.run()


def texts(app: AppTest) -> str:
    return "\n".join(str(element.value) for kind in (app.title, app.markdown, app.caption) for element in kind)


@pytest.fixture
def server_address() -> Iterator[Callable[[str | None], None]]:
    before = st.get_option("server.address")

    def changed(address: str | None) -> None:
        st.config.set_option("server.address", address)

    yield changed
    st.config.set_option("server.address", before)


def test_without_sign_in_there_is_one_local_admin(open_app: OpenApp, sample: str) -> None:
    app = open_app("people")
    assert app.title[0].value == "People"
    assert "local" in app.dataframe[0].value["name"].tolist()
    assert app.dataframe[0].value.set_index("name").loc["local", "role"] == "Admin"


@pytest.mark.parametrize("address", [None, "0.0.0.0", "192.168.1.4", "some-host"])
def test_a_server_that_others_reach_shows_nothing_without_sign_in(
    settings: Settings, visited_server: None, server_address: Callable[[str | None], None], address: str | None
) -> None:
    server_address(address)
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    assert not app.exception and not app.title and not app.sidebar.selectbox
    assert "open to other machines" in texts(app)


@pytest.mark.parametrize("address", ["127.0.0.1", "localhost", "::1"])
def test_a_server_of_this_machine_is_open(
    settings: Settings, visited_server: None, server_address: Callable[[str | None], None], address: str
) -> None:
    server_address(address)
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60).run()
    assert app.title[0].value


def test_before_the_sign_in_nothing_is_shown(settings: Settings, visited_server: None) -> None:
    app = open_as(settings, is_logged_in=False)
    assert not app.exception and not app.title and not app.dataframe and not app.sidebar.selectbox
    assert "Sign in to Assay" in texts(app)
    assert [button.label for button in app.button] == ["Sign in"]


@pytest.mark.parametrize("claims", [{"email": "eve@example.org"}, {}, {"email": "local"}])
def test_strangers_are_told_whom_to_ask(settings: Settings, store: Store, visited_server: None, claims: dict) -> None:
    app = open_as(settings, **claims)
    assert not app.exception and not app.title and not app.dataframe
    assert "You have no access yet" in texts(app)
    assert [button.label for button in app.button] == ["Sign out"]
    assert "eve@example.org" not in [user.name for user in store.users()]


def test_an_address_that_was_never_confirmed_is_nobodys(settings: Settings, store: Store, visited_server: None) -> None:
    store.set_user("ann@example.org", "steward", "local")
    for verified, inside in ((False, False), ("false", False), (True, True)):
        app = open_as(settings, email="ann@example.org", email_verified=verified)
        assert bool(app.title) == inside


@pytest.mark.parametrize(
    "role, pages",
    [("viewer", set()), ("steward", {"audit"}), ("executive", {"audit"}), ("admin", {"audit", "people"})],
)
def test_pages_by_role(settings: Settings, store: Store, visited_server: None, role: str, pages: set[str]) -> None:
    store.set_user(f"{role}@example.org", role, "local")
    titles = {"audit": "Audit log", "people": "People"}
    for page, title in titles.items():
        app = open_as(settings, email=f"{role.upper()}@example.org")
        if page in pages:
            app.switch_page(f"pages/{page}.py").run()
            assert [heading.value for heading in app.title] == [title]
        else:
            with pytest.raises(ValueError, match="Could not find a navigation page"):
                app.switch_page(f"pages/{page}.py")


def test_what_somebody_does_is_done_under_their_name(
    settings: Settings, store: Store, visited_server: None, sample: str
) -> None:
    store.set_user("ann@example.org", "steward", "local")
    app = open_as(settings, sample, email="ann@example.org")
    assert "ann" in texts(app.sidebar)  # type: ignore[arg-type]
    app.switch_page("pages/inspect_rows.py").run()
    app.button(key="flag_top").click().run()
    assert not app.exception
    assert set(store.flags(sample).query("flagged")["actor"]) == {"ann@example.org"}


def test_a_role_taken_away_between_two_clicks_is_noticed(
    settings: Settings, store: Store, visited_server: None, sample: str
) -> None:
    store.set_user("bob@example.org", "steward", "local")
    app = open_as(settings, sample, email="bob@example.org")
    app.switch_page("pages/inspect_rows.py").run()
    store.set_user("bob@example.org", "viewer", "local")
    app.button(key="flag_top").click().run()
    assert not app.exception
    assert "may not do this" in app.toast[0].value
    assert not store.flags(sample)["flagged"].any()


def test_people_are_added_and_changed_on_the_page(open_app: OpenApp, store: Store) -> None:
    app = open_app("people")
    app.text_input(key="person_name").set_value(" New@Example.org")
    app.selectbox(key="person_role_en").set_value("executive")
    app.button[[b.label for b in app.button].index("Save")].click().run()
    assert not app.exception and not app.error
    assert store.user("new@example.org").role == "executive"
    app.text_input(key="person_name").set_value("local")
    app.selectbox(key="person_role_en").set_value("viewer")
    app.button[[b.label for b in app.button].index("Save")].click().run()
    assert "cannot take the admin role away from yourself" in app.error[0].value
