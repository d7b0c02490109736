"""Who is here: the one local user of a laptop, or whoever signed in with the identity provider."""

import ipaddress
from collections.abc import Mapping

import streamlit as st

from components import theme
from components.i18n import _, escape, language_switch
from core import users
from core.settings import get_settings
from core.store import Store
from core.users import User


def configured() -> bool:
    """Whether the server has an identity provider (``[auth]`` in .streamlit/secrets.toml)."""
    return "is_logged_in" in st.user


def exposed() -> bool:
    """Whether other machines may reach this server without signing in."""
    address = st.get_option("server.address")
    if configured() or get_settings().open_network or address == "localhost":
        return False
    try:
        return not ipaddress.ip_address(address or "0.0.0.0").is_loopback
    except ValueError:  # a name of this machine
        return True


def user() -> User | None:
    """Return who acts in this session, as the database has them now, or None for somebody without access."""
    if exposed():
        return None
    if not configured():
        return users.known_user(_database(), users.FIRST_USER)
    if not st.user.is_logged_in:
        return None
    # Many providers say nothing of it; those that do and say no let anybody claim any address.
    verified = str(st.user.get("email_verified", True)).lower() == "true"
    return users.sign_in(_database(), str(st.user.get("email") or ""), verified, get_settings().default_role)


@st.cache_resource(max_entries=1, show_spinner=False)
def _database() -> str:
    # The store makes the tables on the very first visit.
    return Store(get_settings()).url


def admitted() -> bool:
    """Whether the page may be shown; draws the sign-in page or the reason otherwise."""
    if user() is not None:
        return True
    st.logo(theme.logo(), icon_image=theme.logo(with_name=False), size="large")
    with st.container(border=True, horizontal_alignment="center", key="sign_in"):
        st.space("medium")
        if exposed():
            _exposed()
        elif not configured():
            _nobody()
        elif st.user.is_logged_in:
            _no_access()
        else:
            _welcome()
        st.space("medium")
    with st.container(width=240):
        language_switch()
    return False


def signed_in_as() -> None:
    """Say who is here and offer to sign out; nothing on a laptop."""
    if not configured():
        return
    person = user()
    if person is not None:
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.caption(f":material/person: {escape(person.name)}", width="content")
            st.button(_("Sign out"), key="sign_out", type="tertiary", icon=":material/logout:", on_click=st.logout)


def _welcome() -> None:
    st.markdown(f"### {_('Sign in to Assay')}", text_alignment="center")
    st.caption(_("This workspace is shared. What you do in it is logged under your name."), text_alignment="center")
    section = st.secrets["auth"]
    named = [name for name, value in section.items() if isinstance(value, Mapping)]
    for provider in [None] if "client_id" in section else named:
        label = _("Sign in with {provider}").format(provider=provider.capitalize()) if provider else _("Sign in")
        st.button(
            label,
            key=f"sign_in_{provider}",
            type="primary",
            icon=":material/login:",
            on_click=st.login,
            args=(provider,) if provider else (),
        )


def _no_access() -> None:
    st.markdown(f"### :material/lock: {_('You have no access yet')}", text_alignment="center")
    st.caption(
        _("You are signed in as {email}. An admin of this workspace can add this address on the People page.").format(
            email=escape(str(st.user.get("email") or "–"))
        ),
        text_alignment="center",
    )
    st.button(_("Sign out"), key="sign_out", icon=":material/logout:", on_click=st.logout)


def _exposed() -> None:
    st.markdown(f"### :material/gpp_maybe: {_('This server is open to other machines')}", text_alignment="center")
    st.caption(
        _(
            "Without sign-in everybody who reaches it would be an admin. Start it with --server.address 127.0.0.1, "
            "or set up sign-in in .streamlit/secrets.toml. The README says how."
        ),
        text_alignment="center",
    )


def _nobody() -> None:
    st.markdown(f"### :material/lock: {_('The local user has no access')}", text_alignment="center")
    st.caption(_("This workspace is used with sign-in. Set it up in .streamlit/secrets.toml."), text_alignment="center")
