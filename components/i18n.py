"""The language of this browser session."""

import streamlit as st

from core.errors import UserError
from core.i18n import LANGUAGES, catalog, translator


def language() -> str:
    """Return the chosen language; until somebody chose, that of the address or of the browser."""
    if "language" not in st.session_state:
        wanted = st.query_params.get("lang") or (st.context.locale or "en").split("-")[0].lower()
        st.session_state["language"] = wanted if wanted in LANGUAGES else "en"
    return st.session_state["language"]


def keyed(key: str) -> str:
    """Return a widget key of this language, for selectboxes with translated options.

    A selectbox keeps showing the label that was chosen; under another key it is another selectbox.
    """
    return f"{key}_{language()}"


def _(message: str) -> str:
    """Translate a message id."""
    return translator(language())(message)


def translated(labels: dict[str, str]) -> dict[str, str]:
    """Translate the labels of a choice, now: Streamlit may ask for one outside of any session."""
    return {name: _(label) for name, label in labels.items()}


def ngettext(singular: str, plural: str, n: int) -> str:
    """Translate a message that counts; the text still has its ``{n}``."""
    return catalog(language()).ngettext(singular, plural, n)


def counted(singular: str, plural: str, n: int) -> str:
    """Fill ``{n}`` of an already extracted pair, with thousands separators."""
    return ngettext(singular, plural, n).format(n=f"{n:,}")


def sentences(*parts: str) -> str:
    """Put sentences one after the other: Japanese has no space between them."""
    return ("" if language() == "ja" else " ").join(part for part in parts if part)


def say(error: UserError) -> str:
    """Return a user error in the session's language, safe to show as Markdown."""
    params = {name: escape(str(value)) for name, value in error.params.items()}
    return _(error.template).format(**params) if params else _(error.template)


def escape(text: str) -> str:
    """Take the Markdown out of text that came from a user, so that it shows as typed."""
    return "".join(f"\\{c}" if c in r"\`*_{}[]()<>#+-.!|~$:" else c for c in text)


def language_switch() -> None:
    """Draw the switch; the choice is kept in the address, so that a reload or a shared link keeps it."""
    if st.query_params.get("lang", "en") != language():
        # Streamlit empties the address when another page is shown.
        st.query_params["lang"] = language()
    st.session_state.setdefault("language_switch", language())
    st.segmented_control(
        _("Language"),
        list(LANGUAGES),
        format_func=LANGUAGES.get,
        key="language_switch",
        required=True,
        on_change=_switch,
        label_visibility="collapsed",
        width="stretch",
    )


def _switch() -> None:
    st.session_state["language"] = st.session_state["language_switch"]
    st.query_params["lang"] = st.session_state["language"]
