"""One row in full, with its flag."""

import pandas as pd
import streamlit as st

from components import workspace
from components.i18n import _, counted, escape, say
from components.row_table import HEIGHT
from core.errors import UserError


def empty() -> None:
    """Say how to get a row here."""
    with st.container(border=True, height=HEIGHT, horizontal_alignment="center", vertical_alignment="center"):
        st.markdown(f":gray[:material/left_click:] **{_('Click a row to read it')}**", text_alignment="center")
        st.caption(
            _("Its full prompt and answer appear here, as plain text, with a button to flag it."),
            text_alignment="center",
        )


def show(row: pd.Series, dataset: str, n_rows: int, score_name: str) -> None:
    """Draw a row: scores, flag button and note, then its texts as text, never as markup."""
    with st.container(border=True, height=HEIGHT):
        head = st.container(horizontal=True, vertical_alignment="center")
        head.markdown(f"**{_('Row {row_id}').format(row_id=row['row_id'])}**", width="content")
        if row["rank"]:
            rank = _("rank {rank} of {n} by {score}").format(rank=row["rank"], n=f"{n_rows:,}", score=score_name)
            head.caption(rank, width="content")
        if row["flagged"]:
            head.badge(_("Flagged"), color="orange", icon=":material/flag:")
        if row["truncated"]:
            head.badge(_("Truncated"), color="yellow")
        if row["holdout"]:
            head.badge(_("Holdout"), color="gray")
        _flag_form(row, dataset)
        _figures(row)
        st.caption(_("Prompt"))
        st.code(row["prompt"] or " ", language=None, wrap_lines=True)
        st.caption(_("Answer"))
        st.code(row["answer"] or " ", language=None, wrap_lines=True)
        origin = " · ".join(part for part in (row["category"], row["supplier"]) if part)
        if origin:
            st.caption(escape(origin))


def _flag_form(row: pd.Series, dataset: str) -> None:
    row_id = int(row["row_id"])
    note_key = f"note_{dataset}_{row_id}"
    st.session_state.setdefault(note_key, row["note"])
    line = st.container(horizontal=True, vertical_alignment="bottom")
    line.text_input(
        _("Note"),
        key=note_key,
        placeholder=_("Note (why?)"),
        label_visibility="collapsed",
        max_chars=500,
        width="stretch",
    )
    if row["flagged"]:
        line.button(
            _("Save note"),
            key="save_note",
            disabled=not st.session_state[note_key] or st.session_state[note_key] == row["note"],
            on_click=_set_flag,
            args=(dataset, row_id, True, note_key),
        )
    line.button(
        _("Remove flag") if row["flagged"] else _("Flag row"),
        key="toggle_flag",
        type="secondary" if row["flagged"] else "primary",
        icon=":material/flag:",
        on_click=_set_flag,
        args=(dataset, row_id, not row["flagged"], note_key),
    )


def _set_flag(dataset: str, row_id: int, flagged: bool, note_key: str) -> None:
    note = st.session_state.get(note_key, "").strip()
    try:
        workspace.store().set_flags(dataset, [row_id], flagged, workspace.actor(), note=note)
    except UserError as error:
        st.toast(say(error), icon=":material/error:")


def _figures(row: pd.Series) -> None:
    if pd.isna(row["self_inf"]):
        st.caption(_("This row could not be scored: no answer token is left to learn from."))
        return
    parts = (
        f"Self-Inf-N **{row['self_inf_n']:.3f}**",
        f"Self-Inf **{row['self_inf']:,.2f}**",
        f"{_('Loss')} **{row['loss']:.3f}**",
        counted("{n} answer token", "{n} answer tokens", int(row["answer_tokens"])),
        counted("{n} word", "{n} words", int(row["answer_words"])),
        counted("{n} supervised", "{n} supervised", int(row["supervised_tokens"])),
    )
    st.markdown(":small[" + " · ".join(parts) + "]")
