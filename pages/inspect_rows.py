"""Inspect: which rows stand out, and which of them to leave out."""

import streamlit as st

from components import (
    charts,
    empty_states,
    flagging,
    frames,
    row_detail,
    row_table,
    selection,
    shell,
    summary,
    workspace,
)
from components.i18n import _

shell.through_app()
dataset = workspace.current()
run = workspace.current_run(dataset.fingerprint) if dataset else None
if dataset is None:
    empty_states.no_dataset(_("Inspect"))
    st.stop()
if run is None:
    empty_states.not_scored(_("Inspect"), dataset)
    st.stop()

summary.heading(dataset, run)
rows, scores = workspace.rows(dataset.fingerprint), workspace.scores(run.run_id)
flags = workspace.store().flags(dataset.fingerprint)
summary_place = st.container()
score, unit, log, group = charts.controls(rows, run.settings.get("length_unit", "tokens"))
frame = frames.inspect_frame(rows, scores, flags, unit)
with summary_place:
    summary.metrics(frame, score, unit)
summary.unit_advice(frame, unit)

charts.linked_charts(frame, workspace.store().umap(run.run_id), run, score, unit, log, group)

picked = selection.picked(dataset.fingerprint)
with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", key="actions"):
    if picked.ids:
        flagging.selection_bar(
            picked.ids, int(frame["flagged"][frame["row_id"].isin(picked.ids)].sum()), dataset.fingerprint
        )
    else:
        st.caption(_("Draw a lasso or a box around points to see only their rows."), width="content")
    flagging.top_rows(frame, dataset.fingerprint)

keep = row_table.filters(frame)
if picked.ids:
    keep &= frame["row_id"].isin(picked.ids)
ordered = frames.ranked(frame, score)
shown = ordered[ordered["row_id"].isin(frame.loc[keep, "row_id"])]
left, right = st.columns([5, 3])
with left:
    opened = row_table.table(shown, dataset.fingerprint)
    summary.shown(len(shown), len(frame))
with right:
    if opened is None:
        row_detail.empty()
    else:
        row_detail.show(
            ordered[ordered["row_id"] == opened].iloc[0],
            dataset.fingerprint,
            int(run.n_rows),
            _(frames.SCORES[score]),
        )
