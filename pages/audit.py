"""Audit log: who did what, when; and whether anybody has touched the log itself."""

import streamlit as st

from components import audit_log, shell
from components.i18n import _

shell.through_app()
st.title(_("Audit log"))
st.caption(_("Who did what, when, before and after. The log holds ids, counts and hashes, never the text of a row."))
audit_log.head_section()
audit_log.log_table(audit_log.filters())
