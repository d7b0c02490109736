"""People: who may do what."""

import streamlit as st

from components import people_form, shell
from components.i18n import _

shell.through_app()
st.title(_("People"))
st.caption(_("Every change asks the database for the role of whoever makes it."))
people_form.notice()
left, right = st.columns([3, 2])
with left:
    people_form.people_table()
with right:
    people_form.role_form()
people_form.role_overview()
