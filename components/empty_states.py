"""What a page says when it has nothing to show yet: why, and the next click."""

import streamlit as st

from components import workspace
from components.i18n import _, escape
from core.store import DatasetRecord


def no_dataset(title: str) -> None:
    """There is no dataset."""
    st.title(title)
    _empty(
        ":material/database:",
        _("No dataset yet"),
        _("Import one first; it is checked and scored on this machine."),
        _("Import a dataset"),
        "pages/datasets.py",
    )


def not_scored(title: str, dataset: DatasetRecord) -> None:
    """The dataset has no scores."""
    st.title(title)
    _empty(
        ":material/query_stats:",
        _("{dataset} is not scored yet").format(dataset=escape(dataset.name)),
        _("Scoring finds the rows that the model would learn from most. It runs in the background."),
        _("Score it"),
        "pages/datasets.py",
    )


def nothing_flagged(dataset: DatasetRecord) -> None:
    """No row of the dataset is flagged."""
    _empty(
        ":material/flag:",
        _("No row of {dataset} is flagged").format(dataset=escape(dataset.name)),
        _("A probe trains on the flagged rows. Flag some on the Inspect page, for example the top 100."),
        _("Inspect rows"),
        "pages/inspect_rows.py",
    )


def _empty(icon: str, heading: str, text: str, action: str, page: str) -> None:
    with st.container(border=True, horizontal_alignment="center", key="empty_state"):
        st.space("medium")
        st.markdown(f"### {icon} {heading}", text_alignment="center")
        st.caption(text, text_alignment="center")
        st.button(
            action,
            key="empty_action",
            type="primary",
            icon=":material/arrow_forward:",
            on_click=workspace.go,
            args=(page,),
        )
        st.space("medium")
