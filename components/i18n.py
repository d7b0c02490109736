"""The language of this browser session."""

import streamlit as st

from core.errors import UserError
from core.i18n import LANGUAGES, catalog, translator


def language() -> str:
    """Return the chosen language, or the browser's where nobody chose."""
    chosen = st.session_state.get("lang")
    return chosen if chosen in LANGUAGES else _browser_language()


def _browser_language() -> str:
    spoken = (st.context.locale or "en").split("-")[0].lower()
    return spoken if spoken in LANGUAGES else "en"


def _(message: str) -> str:
    """Translate a message id."""
    return translator(language())(message)


def ngettext(singular: str, plural: str, n: int) -> str:
    """Translate a message that counts; the text still has its ``{n}``."""
    return catalog(language()).ngettext(singular, plural, n)


def counted(singular: str, plural: str, n: int) -> str:
    """Fill ``{n}`` of an already extracted pair, with thousands separators."""
    return ngettext(singular, plural, n).format(n=f"{n:,}")


def say(error: UserError) -> str:
    """Return a user error in the session's language, safe to show as Markdown."""
    params = {name: escape(str(value)) for name, value in error.params.items()}
    return _(error.template).format(**params) if params else _(error.template)


def escape(text: str) -> str:
    """Take the Markdown out of text that came from a user, so that it shows as typed."""
    return "".join(f"\\{c}" if c in r"\`*_{}[]()<>#+-.!|~$:" else c for c in text)


def language_switch() -> None:
    """Draw the switch; the choice is kept in the address, so a reload or a shared link keeps it."""
    codes = list(LANGUAGES)
    st.segmented_control(
        _("Language"),
        codes,
        format_func=LANGUAGES.get,
        default=None if "lang" in st.session_state else _browser_language(),
        key="lang",
        required=True,
        bind="query-params",
        label_visibility="collapsed",
        width="stretch",
    )
