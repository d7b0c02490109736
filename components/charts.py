"""The two linked charts of the inspect page."""

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from components import frames, plots, selection, theme
from components.i18n import _, language, translated
from core.i18n import N_
from core.store import ScoreRunRecord

GROUPS = {"flag": N_("Flag"), "category": N_("Category"), "supplier": N_("Supplier")}
CONFIG = {
    "displaylogo": False,
    "modeBarButtons": [["lasso2d", "select2d", "zoom2d", "pan2d", "resetScale2d"]],
    "scrollZoom": False,
}


def controls(frame: pd.DataFrame, unit: str) -> tuple[str, str, bool, str | None]:
    """Draw the controls above the charts; return score, unit, whether axes are logarithmic, and colour."""
    line = st.container(horizontal=True, vertical_alignment="bottom", gap="medium")
    score = line.segmented_control(
        _("Score"),
        list(frames.SCORES),
        format_func=translated(frames.SCORES).get,
        default="self_inf_n",
        key="inspect_score",
        required=True,
        persist_state="session",
    )
    unit = line.segmented_control(
        _("Answer length in"),
        list(frames.UNITS),
        format_func=translated(frames.UNITS).get,
        default=unit,
        key="inspect_unit",
        required=True,
        persist_state="session",
        help=_("Self-Inf-N is recomputed with this length."),
    )
    groups = [name for name in GROUPS if name == "flag" or frame[name].ne("").any()]
    group = line.segmented_control(
        _("Colour by"),
        groups,
        format_func=translated(GROUPS).get,
        default="flag",
        key="inspect_group",
        required=True,
        persist_state="session",
    )
    log = line.toggle(_("Log scale"), value=True, key="inspect_log", persist_state="session")
    return score, unit, log, None if group == "flag" else group


def linked_charts(
    frame: pd.DataFrame,
    umap: pd.DataFrame | None,
    run: ScoreRunRecord,
    score: str,
    unit: str,
    log: bool,
    group: str | None,
) -> None:
    """Draw score over length, and the map of gradients; a lasso or box in one is shown in both."""
    now = selection.picked(run.dataset)
    scored = frame[frame["self_inf"].notna()]
    points = frames.drawn(scored, score)
    look = (
        run.run_id,
        theme.is_dark(),
        language(),
        group,
        frames.table_key(scored.loc[scored["flagged"], "row_id"]),
    )
    left, right = st.columns(2)
    with left.container(border=True, key="chart_length"):
        st.markdown(f"**{_('Score and answer length')}**")
        chart = ("length", selection.signature(*look, score, unit, log))
        figure = plots.score_length(
            points,
            score,
            unit,
            _labels(score, unit),
            theme.colours(),
            selection.highlighted(*chart, now),
            log,
            group,
        )
        axes, logs = (f"answer_{unit}", score), (log, log and score not in plots.LOG_SCORES)
        _draw(figure, chart[0], run.dataset, scored, axes, logs, len(points) == len(scored))
    with right.container(border=True, key="chart_umap"):
        st.markdown(
            f"**{_('Map of gradients')}**",
            help=_("UMAP: rows that would teach the model alike lie together."),
        )
        if umap is None:
            _no_map(run)
        else:
            placed = points.merge(umap, on="row_id")
            everything = scored.merge(umap, on="row_id")
            chart = ("umap", selection.signature(*look))
            figure = plots.umap(
                placed, _labels(score, unit), theme.colours(), selection.highlighted(*chart, now), group
            )
            whole = len(placed) == len(everything)
            _draw(figure, chart[0], run.dataset, everything, ("x", "y"), (False, False), whole)
    if len(points) < len(scored):
        st.caption(
            _(
                "{drawn} of {n} rows are drawn: all flagged ones, the highest scores and a random sample "
                "of the rest. Lasso and box select among all rows."
            ).format(drawn=f"{len(points):,}", n=f"{len(scored):,}")
        )


def _draw(
    figure: go.Figure,
    chart: str,
    dataset: str,
    points: pd.DataFrame,
    axes: tuple[str, str],
    log: tuple[bool, bool],
    all_drawn: bool,
) -> None:
    key = selection.chart_key(chart, dataset)
    st.plotly_chart(
        figure,
        key=key,
        on_select=lambda: selection.take(chart, key, dataset, points, axes, log, all_drawn),
        selection_mode=("lasso", "box"),
        config=CONFIG,
        alt=_("Scores of rows over the length of their answers")
        if chart == "length"
        else _("Map of the rows by the direction of their gradients"),
    )


def _labels(score: str, unit: str) -> dict[str, str]:
    return {
        "x": _("Answer length (tokens)") if unit == "tokens" else _("Answer length (words)"),
        "y": _(frames.SCORES[score]),
        "row": _("Row"),
        "flagged": _("Flagged"),
        "not_flagged": _("Not flagged"),
        "other": _("Other"),
    }


def _no_map(run: ScoreRunRecord) -> None:
    with st.container(height=plots.HEIGHT, border=False, horizontal_alignment="center", vertical_alignment="center"):
        st.markdown(f"**{_('No map for this run')}**", text_alignment="center")
        st.caption(
            _(run.umap_skipped) if run.umap_skipped else _("The map has not been computed."),
            text_alignment="center",
        )
