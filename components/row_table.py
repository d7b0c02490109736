"""The table of rows on the inspect page: filters, columns, and the row that is open."""

import pandas as pd
import streamlit as st

from components import frames
from components.i18n import _, keyed, translated
from core.i18n import N_

HEIGHT = 560
FLAG_STATES = {"all": N_("All rows"), "flagged": N_("Flagged"), "unflagged": N_("Not flagged")}


def filters(frame: pd.DataFrame) -> pd.Series:
    """Draw the filter row; return which lines pass."""
    categories = sorted(name for name in frame["category"].unique() if name)
    suppliers = sorted(name for name in frame["supplier"].unique() if name)
    shown = st.columns([3, 2, 2, 2], vertical_alignment="bottom")
    text = shown[0].text_input(
        _("Search"),
        placeholder=_("Words in the prompt or answer"),
        icon=":material/search:",
        key="filter_text",
        label_visibility="collapsed",
    )
    chosen_categories = shown[1].multiselect(
        _("Category"),
        categories,
        placeholder=_("Any category"),
        key="filter_categories",
        label_visibility="collapsed",
        disabled=not categories,
    )
    chosen_suppliers = shown[2].multiselect(
        _("Supplier"),
        suppliers,
        placeholder=_("Any supplier"),
        key="filter_suppliers",
        label_visibility="collapsed",
        disabled=not suppliers,
    )
    state = shown[3].selectbox(
        _("Flag"),
        list(FLAG_STATES),
        format_func=translated(FLAG_STATES).get,
        key=keyed("filter_flag"),
        label_visibility="collapsed",
    )
    flagged = {"all": None, "flagged": True, "unflagged": False}[state]
    return frames.matches(frame, text, chosen_categories, chosen_suppliers, flagged)


def table(ordered: pd.DataFrame, dataset: str) -> int | None:
    """Draw the table; return the row id that was clicked last, if it is still in the table.

    Parameters
    ----------
    ordered : DataFrame
        Ranked lines of an inspect frame; the table shows them in this order until somebody sorts a column.
    dataset : str
        Fingerprint, so that tables of different datasets are different widgets.
    """
    shown = pd.DataFrame(
        {
            "flagged": ordered["flagged"],
            "row_id": ordered["row_id"],
            # Before the text, so that narrow windows show it too.
            "self_inf_n": ordered["self_inf_n"],
            "prompt": ordered["prompt_short"],
            "answer": ordered["answer_short"],
            "self_inf": ordered["self_inf"],
            "loss": ordered["loss"],
            "answer_tokens": ordered["answer_tokens"],
            "answer_words": ordered["answer_words"],
            "supervised_tokens": ordered["supervised_tokens"],
            "truncated": ordered["truncated"],
            "category": ordered["category"],
            "supplier": ordered["supplier"],
            "holdout": ordered["holdout"],
        }
    )
    key = f"rows_{dataset}_{frames.table_key(ordered['row_id'])}"
    st.dataframe(
        shown,
        key=key,
        height=HEIGHT,
        hide_index=True,
        on_select=lambda: _open_clicked(key, ordered["row_id"].tolist()),
        selection_mode="single-cell",
        column_config=_columns(),
        alt=_("Rows of the dataset with their scores"),
    )
    opened = st.session_state.get("open_row")
    return opened if opened in set(ordered["row_id"]) else None


def _open_clicked(key: str, row_ids: list[int]) -> None:
    # By row id, at once: positions mean nothing once the order changes.
    cells = st.session_state[key]["selection"].get("cells") or []
    if cells and cells[0][0] < len(row_ids):
        st.session_state["open_row"] = row_ids[cells[0][0]]


def _columns() -> dict:
    column = st.column_config
    return {
        "flagged": column.CheckboxColumn(_("Flag"), width=48, pinned=True),
        "row_id": column.NumberColumn(_("Row"), width=52, format="%d", pinned=True),
        "prompt": column.TextColumn(_("Prompt"), width=170),
        "answer": column.TextColumn(_("Answer"), width=170),
        "self_inf_n": column.NumberColumn("Self-Inf-N", format="%.3f", width=96, help=_(HELP["self_inf_n"])),
        "self_inf": column.NumberColumn("Self-Inf", format="%.2f", width=96, help=_(HELP["self_inf"])),
        "loss": column.NumberColumn(_("Loss"), format="%.3f", width=76, help=_(HELP["loss"])),
        "answer_tokens": column.NumberColumn(_("Answer tokens"), format="%d", width=112),
        "answer_words": column.NumberColumn(
            _("Answer words"), format="%d", width=112, help=_("Counted at white space.")
        ),
        "supervised_tokens": column.NumberColumn(
            _("Supervised tokens"), format="%d", width=132, help=_(HELP["supervised_tokens"])
        ),
        "truncated": column.CheckboxColumn(_("Truncated"), width=88),
        "category": column.TextColumn(_("Category"), width=140),
        "supplier": column.TextColumn(_("Supplier"), width=150),
        "holdout": column.CheckboxColumn(_("Holdout"), width=80, help=_(HELP["holdout"])),
    }


HELP = {
    "self_inf_n": N_(
        "log(Self-Inf + 1) + log(answer length + 1). "
        "The length term weakens the pull towards very short answers; it need not remove it."
    ),
    "self_inf": N_("Squared length of the row's gradient over all parameters of the model."),
    "loss": N_("Mean cross-entropy of the supervised answer tokens, in nats."),
    "supervised_tokens": N_(
        "Answer tokens left after truncation, with the end-of-turn token. "
        "A high score that rests on very few of them may be an artefact."
    ),
    "holdout": N_("Kept back at import to measure usefulness. Probes never train on these rows."),
}
