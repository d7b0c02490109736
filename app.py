"""Entry point: ``streamlit run app.py``."""

import streamlit as st

from components import shell, sign_in, theme
from components.i18n import _

st.set_page_config(
    page_title="Assay",
    page_icon=theme.logo(with_name=False),
    layout="wide",
    # Any entry makes the menu appear, and with it the choice between light and dark.
    menu_items={"About": "**Assay** · " + _("Which rows of a harmless-looking dataset would break a model's safety?")},
)
page = shell.navigation()
shell.start_once()
shell.enter(page)
if sign_in.admitted():
    shell.sidebar()
    page.run()
