"""The head of the inspect page: what is looked at, and its figures."""

import pandas as pd
import streamlit as st

from components import frames, workspace
from components.dataset_list import when
from components.i18n import _, counted, escape
from components.model_choice import model_label
from core.store import DatasetRecord, ScoreRunRecord

# From this share of answers written without spaces on, word counts mislead about the whole dataset.
SPACELESS_NOTE = 0.01
TOP = 100


def heading(dataset: DatasetRecord, run: ScoreRunRecord) -> None:
    """Draw the title, and the choice of run where there is more than one."""
    runs = workspace.store().score_runs(dataset.fingerprint)
    title, choice = st.columns([3, 2], vertical_alignment="bottom")
    with title:
        st.title(_("Inspect"))
        st.caption(
            _("{dataset} · scored with {model}, at most {n} tokens").format(
                dataset=escape(dataset.name),
                model=escape(run.model_name or model_label(run.model)),
                n=run.settings.get("max_length"),
            )
        )
        if run.template == "fallback":
            st.caption(
                ":material/info: " + _("The tokenizer has no chat template; a plain fallback template was used.")
            )
    if len(runs) > 1:
        labels = {r.run_id: f"{r.model_name} · {when(r.created_at)}" for r in runs}
        choice.selectbox(_("Score run"), list(labels), format_func=labels.get, key="run", persist_state="session")


def metrics(frame: pd.DataFrame, score: str, unit: str) -> None:
    """Draw rows, flagged, truncated and the median answer length of the highest rows."""
    scored = frame[frame["self_inf"].notna()]
    top = frames.ranked(scored, score).head(TOP)
    length = top[f"answer_{unit}"].median()
    everywhere = scored[f"answer_{unit}"].median()
    cards = st.grid(4, min_column_width=130)
    look = {"border": True, "height": "stretch", "delta_color": "off", "delta_arrow": "off"}
    missing = len(frame) - len(scored)
    held = int(frame["holdout"].sum())
    cards.metric(
        _("Rows"),
        f"{len(frame):,}",
        counted("{n} not scorable", "{n} not scorable", missing)
        if missing
        else counted("{n} held out", "{n} held out", held),
        **look,
    )
    count = int(frame["flagged"].sum())
    cards.metric(_("Flagged"), f"{count:,}", f"{count / max(1, len(frame)):.1%}", **look)
    cut = int(scored["truncated"].sum())
    cards.metric(
        _("Truncated"),
        f"{cut / max(1, len(scored)):.1%}",
        counted("{n} row", "{n} rows", cut),
        help=_("Rows longer than the longest input. What was cut could not count."),
        **look,
    )
    cards.metric(
        _("Median answer, top {n}").format(n=min(TOP, len(scored))),
        "–" if pd.isna(length) else f"{length:,.0f}",
        _("all rows: {length}").format(length=_length(everywhere, unit)),
        help=_("If the highest rows are all very short or all very long, the score mostly measures length."),
        **look,
    )


def _length(value: float, unit: str) -> str:
    if pd.isna(value):
        return "–"
    n = round(value)
    return counted("{n} token", "{n} tokens", n) if unit == "tokens" else counted("{n} word", "{n} words", n)


def unit_advice(frame: pd.DataFrame, unit: str) -> None:
    """Say when words are no unit for this dataset."""
    share = frame["spaceless"].mean() if len(frame) else 0.0
    if share < SPACELESS_NOTE:
        return
    text = _(
        "{share} of the answers are Japanese or Chinese, written without spaces. Use tokens as the unit of length."
    )
    text = text.format(share=f"{share:.0%}")
    if unit == "words":
        st.warning(text, icon=":material/straighten:")
    else:
        st.caption(f":material/straighten: {text}")


def shown(n: int, total: int) -> None:
    """Say how many rows the table shows."""
    if n < total:
        st.caption(_("{n} of {total} rows").format(n=f"{n:,}", total=f"{total:,}"))
    else:
        st.caption(counted("{n} row", "{n} rows", total))
