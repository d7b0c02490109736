"""How long a dataset is kept, and deleting it for good."""

import streamlit as st

from components import workspace
from components.dataset_list import when
from components.i18n import _, counted, escape, say
from core.deletion import LONGEST_RETENTION_DAYS, delete_dataset, deletion_time, set_retention
from core.errors import UserError
from core.store import DatasetRecord


def keep_section(dataset: DatasetRecord) -> None:
    """Draw the retention period and, behind a typed name, the deletion."""
    if not workspace.can("delete"):
        return
    due = deletion_time(dataset)
    if due is not None:
        st.caption(f":material/auto_delete: {_('Will be deleted after {time}.').format(time=when(due))}")
    with st.expander(_("Keep or delete"), icon=":material/delete:", key="keep_section"):
        _retention(dataset)
        st.divider()
        _deletion(dataset)


def _retention(dataset: DatasetRecord) -> None:
    line = st.container(horizontal=True, vertical_alignment="bottom")
    days = line.number_input(
        _("Delete by itself, days after the import"),
        min_value=1,
        max_value=LONGEST_RETENTION_DAYS,
        value=dataset.retention_days,
        placeholder=_("Never"),
        key=f"retention_{dataset.fingerprint}",
    )
    line.button(
        _("Save"),
        key="save_retention",
        disabled=days == dataset.retention_days,
        on_click=_keep,
        args=(dataset.fingerprint, days),
    )


def _keep(fingerprint: str, days: int | None) -> None:
    try:
        set_retention(workspace.store(), fingerprint, days, workspace.actor())
    except UserError as error:
        st.toast(say(error), icon=":material/error:")
        return
    text = (
        _("Kept until somebody deletes it.")
        if days is None
        else counted("Kept for {n} day.", "Kept for {n} days.", days)
    )
    st.toast(text, icon=":material/check:")


def _deletion(dataset: DatasetRecord) -> None:
    st.caption(
        _(
            "Deletes the rows, scores, probes, answers and decisions for good. "
            "The audit log keeps fingerprints and counts, no text."
        )
    )
    line = st.container(horizontal=True, vertical_alignment="bottom")
    typed = line.text_input(
        _("To confirm, type the name: {name}").format(name=escape(dataset.name)),
        key=f"delete_name_{dataset.fingerprint}",
    )
    line.button(
        _("Delete for good"),
        key="delete_dataset",
        icon=":material/delete_forever:",
        # A name may begin or end in white space that nobody sees.
        disabled=not typed.strip() or typed.strip() != dataset.name.strip(),
        on_click=_delete,
        args=(dataset.fingerprint, dataset.name),
    )


def _delete(fingerprint: str, name: str) -> None:
    try:
        delete_dataset(workspace.store(), fingerprint, workspace.actor())
    except UserError as error:
        st.toast(say(error), icon=":material/error:")
        return
    workspace.forget(fingerprint)
    st.toast(_("{name} is deleted.").format(name=escape(name)), icon=":material/check:")
