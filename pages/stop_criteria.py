"""Stop criteria: what must not happen, written down before anything is measured."""

import streamlit as st

from components import criteria_editor, shell
from components.i18n import _

shell.through_app()
st.title(_("Stop criteria"))
st.caption(
    _("Limits that a probe's verdict is computed from. Written before anything is measured, changed with a reason.")
)
criteria_editor.criteria_page()
