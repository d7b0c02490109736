"""Plotly figures, as plain functions of tables and colours."""

import html
from collections.abc import Collection

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from components.theme import Colours

HEIGHT = 350
# Scores that are logarithms already.
LOG_SCORES = ("self_inf_n",)


def score_length(
    frame: pd.DataFrame,
    score: str,
    unit: str,
    labels: dict[str, str],
    colours: Colours,
    selected: Collection[int] | None = None,
    log: bool = True,
    group: str | None = None,
) -> go.Figure:
    """Scatter of a score over the answer length.

    Parameters
    ----------
    frame : DataFrame
        Lines of an inspect frame of prepared rows (see `frames.prepare`).
    score : str
        Column for the vertical axis.
    unit : {"tokens", "words"}
        Unit of the answer length on the horizontal axis.
    labels : dict of str
        Translated texts: ``x``, ``y``, ``row``, ``flagged``, ``not_flagged``, ``other``.
    selected : collection of int or None
        Row ids to show as selected; None for no selection.
    log : bool
        Logarithmic axes. Self-Inf-N is a logarithm already, so its axis stays linear.
    group : str or None
        Column to colour by; None colours by flag.
    """
    length = f"answer_{unit}"
    figure = _points(frame, length, score, labels, colours, selected, group)
    figure.update_xaxes(title=labels["x"], type="log" if log else "linear")
    figure.update_yaxes(title=labels["y"], type="log" if log and score not in LOG_SCORES else "linear")
    if log:
        _plain_log_ticks(figure, "xaxis", frame[length])
        positive = frame[score][frame[score] > 0]
        if score not in LOG_SCORES and len(positive) and positive.max() > 50 * positive.min():
            figure.update_yaxes(dtick=1)
    return figure


def umap(
    frame: pd.DataFrame,
    labels: dict[str, str],
    colours: Colours,
    selected: Collection[int] | None = None,
    group: str | None = None,
) -> go.Figure:
    """Scatter of the UMAP of the gradient features, without axes: only nearness has a meaning."""
    figure = _points(frame, "x", "y", labels, colours, selected, group)
    figure.update_xaxes(showticklabels=False, title=None, showgrid=False, showline=False)
    figure.update_yaxes(showticklabels=False, title=None, showgrid=False, showline=False)
    figure.update_layout(margin={"l": 8, "b": 12})
    return figure


def _points(
    frame: pd.DataFrame,
    x: str,
    y: str,
    labels: dict[str, str],
    colours: Colours,
    selected: Collection[int] | None,
    group: str | None,
) -> go.Figure:
    figure = go.Figure()
    row_label = html.escape(labels["row"])
    chosen = None if selected is None else frame["row_id"].isin(selected).to_numpy()
    for name, mask, colour, symbol, size in _groups(frame, group, labels, colours):
        part = frame[mask]
        if part.empty:
            continue
        figure.add_trace(
            go.Scattergl(
                x=part[x],
                y=part[y],
                name=name,
                mode="markers",
                customdata=part[["row_id", "hover"]].to_numpy(dtype=object),
                hovertemplate=f"<b>{row_label} %{{customdata[0]}}</b><br>%{{customdata[1]}}<extra></extra>",
                marker={
                    "size": size,
                    "color": colour,
                    "symbol": symbol,
                    "opacity": 0.78,
                    "line": {"width": 0},
                },
                selectedpoints=None if chosen is None else np.flatnonzero(chosen[mask]).tolist(),
                selected={"marker": {"opacity": 1.0, "size": size + 1, "color": colour}},
                unselected={"marker": {"opacity": 0.35, "color": colours.faded}},
            )
        )
    figure.update_layout(**base_layout(colours))
    return figure


def _groups(
    frame: pd.DataFrame, group: str | None, labels: dict[str, str], colours: Colours
) -> list[tuple[str, np.ndarray, str, str | np.ndarray, float]]:
    size = 6.5 if len(frame) < 3000 else 4.5 if len(frame) < 12_000 else 3.5
    flagged = frame["flagged"].to_numpy()
    if group is None:
        return [
            (labels["not_flagged"], ~flagged, colours.row, "circle", size),
            (labels["flagged"], flagged, colours.flagged, "diamond", size + 1.5),
        ]
    values = frame[group].replace("", labels["other"])
    names = [name for name in values.value_counts().index if name != labels["other"]]
    # More groups than colours: the small ones go together.
    room = len(colours.groups) - (len(names) < values.nunique() or len(names) > len(colours.groups))
    values = values.where(values.isin(names[:room]), labels["other"])
    shown = [*sorted(names[:room]), *([labels["other"]] if (values == labels["other"]).any() else [])]
    symbols = np.where(flagged, "diamond", "circle")
    return [
        (str(name), mask, colours.groups[i], symbols[mask], size)
        for i, name in enumerate(shown)
        if (mask := (values == name).to_numpy()).any()
    ]


def _plain_log_ticks(figure: go.Figure, axis: str, values: pd.Series) -> None:
    # Plotly writes 2 and 5 between powers of ten as bare digits; few whole numbers read better.
    top = float(values.max()) if len(values) else 1.0
    ticks = [tick for tick in (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000) if tick <= top * 1.3]
    figure.update_layout({axis: {"tickvals": ticks, "ticktext": [f"{tick:,}" for tick in ticks], "tickangle": 0}})


def base_layout(colours: Colours) -> dict:
    """Return the layout that all charts share."""
    axis = {
        "gridcolor": colours.grid,
        "zeroline": False,
        "linecolor": colours.grid,
        "ticks": "",
        "automargin": True,
    }
    return {
        "height": HEIGHT,
        "margin": {"l": 52, "r": 12, "t": 34, "b": 44},
        "dragmode": "lasso",
        "hovermode": "closest",
        "hoverlabel": {"align": "left", "font": {"size": 12}},
        "legend": {
            "orientation": "h",
            "y": 1.02,
            "yanchor": "bottom",
            "x": 0,
            "font": {"size": 12},
            "itemsizing": "constant",
        },
        "font": {"color": colours.muted, "size": 12},
        "xaxis": axis,
        "yaxis": axis,
        "newselection": {"line": {"color": colours.muted, "width": 1.2, "dash": "dot"}},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": colours.muted, "activecolor": colours.text},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
    }
