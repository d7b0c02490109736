"""Datasets: bring one in, and have it scored."""

import streamlit as st

from components import dataset_list, import_form, shell, workspace
from components.export_form import export_section
from components.i18n import _
from components.keep_form import keep_section
from components.score_form import score_section

shell.through_app()
records = workspace.store().datasets()
head = st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute")
with head.container(width="stretch"):
    st.title(_("Datasets"))
    st.caption(_("Fine-tuning data, checked row by row. Choose one to score it and to look for rows that stand out."))
if import_form.opened():
    import_form.import_section()
elif workspace.can("import"):
    head.button(
        _("Import a dataset"),
        key="open_import",
        type="secondary" if records else "primary",
        icon=":material/add:",
        on_click=import_form.open_form,
    )
import_form.notice()

if records:
    dataset_list.dataset_list(records)

current = workspace.current()
if current is not None and not import_form.opened():
    left, right = st.columns(2)
    with left:
        dataset_list.dataset_card(current, below=keep_section)
    with right:
        score_section(current)
        export_section(current)
