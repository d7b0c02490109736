"""The people of the workspace and their roles."""

import pandas as pd
import streamlit as st

from components import workspace
from components.i18n import _, escape, keyed, say, translated
from core.errors import UserError
from core.i18n import N_
from core.users import CAPABILITIES, ROLES

ROLE_NAMES = {
    "none": N_("No access"),
    "viewer": N_("Viewer"),
    "trainer": N_("Trainer"),
    "steward": N_("Steward"),
    "adjudicator": N_("Adjudicator"),
    "executive": N_("Executive"),
    "admin": N_("Admin"),
}
# In the order of a dataset's way through the desk.
CAPABILITY_NAMES = {
    "view": N_("Look"),
    "import": N_("Import"),
    "score": N_("Score datasets"),
    "probe": N_("Probe"),
    "review": N_("Decide on rows"),
    "adjudicate": N_("Assign, settle disagreements"),
    "export": N_("Export"),
    "export_outliers": N_("Export outliers"),
    "edit_policy": N_("Write stop criteria"),
    "release": N_("Release"),
    "read_audit": N_("Read the audit log"),
    "delete": N_("Delete datasets"),
    "manage_users": N_("Manage people"),
}


def people_table() -> None:
    """List everybody with their role."""
    people = workspace.store().users()
    st.dataframe(
        pd.DataFrame({"name": [p.name for p in people], "role": [_(ROLE_NAMES[p.role]) for p in people]}),
        hide_index=True,
        height="content",
        column_config={
            "name": st.column_config.TextColumn(_("Name or e-mail address"), width="medium"),
            "role": st.column_config.TextColumn(_("Role"), width="small"),
        },
        alt=_("People of this workspace"),
    )


def role_form() -> None:
    """Add somebody, or give somebody another role."""
    with st.form("role_form", clear_on_submit=True):
        st.markdown(f"**{_('Add somebody, or change a role')}**")
        name = st.text_input(
            _("Name or e-mail address"), key="person_name", help=_("Somebody who is listed already gets the new role.")
        )
        role = st.selectbox(
            _("Role"),
            ROLES,
            index=ROLES.index("steward"),
            format_func=translated(ROLE_NAMES).get,
            key=keyed("person_role"),
        )
        if st.form_submit_button(_("Save"), key="save_person", type="primary", icon=":material/check:"):
            _save(name, role)
    st.caption(
        _(
            "People sign in with the e-mail address that is listed here. "
            "“No access” shuts somebody out and keeps their name."
        )
    )


def _save(name: str, role: str) -> None:
    try:
        saved = workspace.store().set_user(name, role, workspace.actor())
    except UserError as error:
        st.error(say(error), icon=":material/error:")
        return
    st.session_state["person_saved"] = (saved.name, saved.role)
    st.rerun()


def notice() -> None:
    """Say once that a role was saved."""
    if saved := st.session_state.pop("person_saved", None):
        text = _("{name} is {role} now.").format(name=escape(saved[0]), role=_(ROLE_NAMES[saved[1]]))
        st.toast(text, icon=":material/check:")


def role_overview() -> None:
    """Show what each role may do."""
    with st.expander(_("What each role may do"), icon=":material/rule:"):
        shown = [role for role in ROLES if role != "none"]
        table = pd.DataFrame(
            {
                _(ROLE_NAMES[role]): ["●" if name in CAPABILITIES[role] else "" for name in CAPABILITY_NAMES]
                for role in shown
            },
            index=[_(name) for name in CAPABILITY_NAMES.values()],
        )
        st.table(table, border="horizontal")
