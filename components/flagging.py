"""Flagging many rows at once: the selection, or the top of a ranking."""

import pandas as pd
import streamlit as st

from components import frames, selection, workspace
from components.i18n import _, counted, keyed, say, translated
from core.errors import UserError
from core.scores import top_k


def selection_bar(ids: list[int], flagged: int, dataset: str) -> None:
    """Draw the chip of the current selection with what can be done to it."""
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(
            counted("{n} row selected", "{n} rows selected", len(ids)),
            icon=":material/lasso_select:",
            color="primary",
        )
        st.caption(counted("{n} of them flagged", "{n} of them flagged", flagged), width="content")
        st.button(
            _("Flag selection"),
            key="flag_selection",
            icon=":material/flag:",
            type="primary",
            disabled=flagged == len(ids),
            on_click=_flag,
            args=(dataset, ids, True),
        )
        st.button(
            _("Unflag selection"),
            key="unflag_selection",
            disabled=flagged == 0,
            on_click=_flag,
            args=(dataset, ids, False),
        )
        st.button(
            _("Clear selection"),
            key="clear_selection",
            icon=":material/close:",
            type="tertiary",
            on_click=selection.clear,
        )


def top_rows(frame: pd.DataFrame, dataset: str) -> None:
    """Draw the popover that flags or unflags the highest rows of a score."""
    with st.popover(_("Flag top rows"), icon=":material/flag:"):
        st.markdown(f"**{_('Flag the highest-scoring rows')}**")
        score = st.selectbox(
            _("Ranked by"),
            list(frames.SCORES),
            format_func=translated(frames.SCORES).get,
            key=keyed("top_score"),
        )
        scored = frame[frame[score].notna()]
        k = st.number_input(
            _("How many"),
            min_value=1,
            max_value=max(1, len(scored)),
            value=min(100, max(1, len(scored))),
            key="top_k",
        )
        ids = [int(row_id) for row_id in top_k(scored, score, int(k))]
        chosen = frame[frame["row_id"].isin(ids)]
        flagged = int(chosen["flagged"].sum())
        parts = [
            counted("{n} row", "{n} rows", len(ids)),
            counted("{n} flagged already", "{n} flagged already", flagged),
        ]
        if held := int(chosen["holdout"].sum()):
            parts.append(counted("{n} in the holdout", "{n} in the holdout", held))
        st.caption(" · ".join(parts))
        with st.container(horizontal=True):
            st.button(
                counted("Flag {n} row", "Flag {n} rows", len(ids) - flagged),
                key="flag_top",
                type="primary",
                disabled=flagged == len(ids),
                on_click=_flag,
                args=(dataset, ids, True),
            )
            st.button(
                counted("Unflag {n} row", "Unflag {n} rows", flagged),
                key="unflag_top",
                disabled=flagged == 0,
                on_click=_flag,
                args=(dataset, ids, False),
            )


def _flag(dataset: str, ids: list[int], flagged: bool) -> None:
    try:
        changed = workspace.store().set_flags(dataset, ids, flagged, workspace.actor())
    except UserError as error:
        st.toast(say(error), icon=":material/error:")
        return
    if flagged:
        st.toast(counted("{n} row flagged", "{n} rows flagged", changed), icon=":material/flag:")
    else:
        st.toast(counted("{n} row unflagged", "{n} rows unflagged", changed), icon=":material/flag:")
