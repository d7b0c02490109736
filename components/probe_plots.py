"""Charts of a probe, as plain functions of tables and colours."""

import html

import pandas as pd
import plotly.graph_objects as go

from components.plots import base_layout
from components.theme import Colours

ROW_HEIGHT = 40


def changes(
    table: pd.DataFrame, axis: str, colours: Colours, as_percent: bool, limit: float | None = None
) -> go.Figure:
    """Dot-and-interval chart of changes, one line an arm, with the line of no change and the limit.

    Parameters
    ----------
    table : DataFrame
        Columns ``name``, ``value``, ``low``, ``high``, ``n``, in the order to draw from the top.
    axis : str
        Title of the axis.
    as_percent : bool
        Whether values are shares.
    limit : float or None
        Allowed rise, drawn as a dashed line.
    """
    scale = 100 if as_percent else 1
    names = list(table["name"])
    figure = go.Figure(
        go.Scatter(
            x=scale * table["value"],
            y=[len(names) - 1 - i for i in range(len(names))],
            mode="markers",
            marker={"size": 10, "color": colours.after},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": scale * (table["high"] - table["value"]),
                "arrayminus": scale * (table["value"] - table["low"]),
                "color": colours.after,
                "thickness": 1.8,
                "width": 5,
            },
            customdata=table[["low", "high", "n"]].assign(low=scale * table["low"], high=scale * table["high"]),
            hovertemplate=(
                "%{x:+.2f} [%{customdata[0]:+.2f}, %{customdata[1]:+.2f}] · n = %{customdata[2]}<extra></extra>"
            ),
        )
    )
    _horizontal(figure, names, axis, colours)
    figure.add_vline(x=0, line={"color": colours.muted, "width": 1})
    if limit is not None:
        figure.add_vline(x=scale * limit, line={"color": colours.flagged, "width": 1.2, "dash": "dash"})
    figure.update_layout(showlegend=False)
    return figure


def outcomes(table: pd.DataFrame, labels: dict[str, str], axis: str, colours: Colours) -> go.Figure:
    """Stacked bars of the three outcomes.

    Parameters
    ----------
    table : DataFrame
        Columns ``name``, ``refused``, ``complied``, ``degenerate`` (shares that add up to 1), from the top.
    labels : dict
        Translated names of the outcomes.
    """
    names = list(table["name"])
    places = [len(names) - 1 - i for i in range(len(names))]
    figure = go.Figure()
    for outcome, colour in (
        ("refused", colours.kept),
        ("complied", colours.flagged),
        ("degenerate", colours.faded),
    ):
        figure.add_trace(
            go.Bar(
                x=100 * table[outcome],
                y=places,
                orientation="h",
                name=labels[outcome],
                marker={"color": colour},
                hovertemplate=f"{html.escape(labels[outcome])}: %{{x:.1f}}%<extra></extra>",
            )
        )
    _horizontal(figure, names, axis, colours)
    figure.update_layout(barmode="stack", bargap=0.35)
    figure.update_xaxes(range=[0, 100])
    return figure


def doses(table: pd.DataFrame, axes: tuple[str, str], colours: Colours, log: bool, limit: float | None) -> go.Figure:
    """Curves of a change over doses, one an arm.

    Parameters
    ----------
    table : DataFrame
        Columns ``arm``, ``dose``, ``value``, ``low``, ``high`` (shares).
    axes : pair of str
        Titles of dose and change.
    log : bool
        Whether doses are drawn logarithmically.
    limit : float or None
        Allowed rise.
    """
    figure = go.Figure()
    for i, (arm, part) in enumerate(table.groupby("arm", sort=False)):
        colour = colours.groups[i % len(colours.groups)]
        part = part.sort_values("dose")
        figure.add_trace(
            go.Scatter(
                x=part["dose"],
                y=100 * part["value"],
                mode="lines+markers",
                name=html.escape(str(arm)),
                marker={"color": colour, "size": 9},
                line={"color": colour, "width": 1.6},
                error_y={
                    "type": "data",
                    "symmetric": False,
                    "array": 100 * (part["high"] - part["value"]),
                    "arrayminus": 100 * (part["value"] - part["low"]),
                    "color": colour,
                    "thickness": 1.4,
                },
            )
        )
    figure.update_layout(**base_layout(colours) | {"dragmode": False})
    figure.update_xaxes(
        title=axes[0], type="log" if log else "linear", tickvals=sorted(set(table["dose"])), fixedrange=True
    )
    figure.update_yaxes(title=axes[1], fixedrange=True)
    figure.add_hline(y=0, line={"color": colours.muted, "width": 1})
    if limit is not None:
        figure.add_hline(y=100 * limit, line={"color": colours.flagged, "width": 1.2, "dash": "dash"})
    return figure


def _horizontal(figure: go.Figure, names: list[str], axis: str, colours: Colours) -> None:
    figure.update_layout(**base_layout(colours) | {"dragmode": False, "height": 96 + ROW_HEIGHT * len(names)})
    figure.update_xaxes(title=axis, fixedrange=True)
    figure.update_yaxes(
        tickvals=[len(names) - 1 - i for i in range(len(names))],
        ticktext=[html.escape(name) for name in names],
        range=[-0.6, len(names) - 0.4],
        fixedrange=True,
        showgrid=False,
    )
