"""Which rows a person picked with lasso or box, shared by both plots and the table.

The picked row ids live here and not in the chart, because a chart forgets its selection whenever it changes.
So the chart somebody drew in must stay as it was, lasso and zoom included, while the other one is redrawn
with the rows highlighted: `highlighted` says what each of them has to show.
"""

from dataclasses import dataclass, field

import pandas as pd
import streamlit as st

from components import frames


@dataclass
class Picked:
    """Rows picked in one dataset."""

    dataset: str
    ids: list[int] = field(default_factory=list)
    source: str = ""


def picked(dataset: str) -> Picked:
    """Return what is picked in a dataset (nothing after the dataset changed)."""
    now = st.session_state.get("picked")
    if not isinstance(now, Picked) or now.dataset != dataset:
        now = st.session_state["picked"] = Picked(dataset)
    return now


def clear() -> None:
    """Forget the picked rows; new chart keys drop the drawn lassos too."""
    st.session_state.pop("picked", None)
    st.session_state.pop("shown_in_charts", None)
    st.session_state["chart_round"] = st.session_state.get("chart_round", 0) + 1


def chart_key(chart: str, dataset: str) -> str:
    """Return the widget key of a chart."""
    return f"{chart}_{dataset}_{st.session_state.get('chart_round', 0)}"


def take(
    chart: str,
    key: str,
    dataset: str,
    points: pd.DataFrame,
    axes: tuple[str, str],
    log: tuple[bool, bool],
    all_drawn: bool,
) -> None:
    """Copy a chart's selection into the session (the chart's ``on_select`` callback).

    Parameters
    ----------
    points : DataFrame
        All rows with ``row_id`` and the plotted columns, also those a sampled chart did not draw.
    axes : pair of str
        The plotted columns.
    log : pair of bool
        Which axes are logarithmic.
    all_drawn : bool
        Whether the chart drew every row. If not, lasso and box decide over all rows here.
    """
    selection = st.session_state[key]["selection"]
    if all_drawn or not (selection.get("box") or selection.get("lasso")):
        ids = [int(point["customdata"][0]) for point in selection["points"]]
    else:
        x, y = (points[axis].to_numpy(float) for axis in axes)
        mask = frames.chosen_by_shapes(x, y, selection, log)
        ids = points.loc[mask, "row_id"].tolist()
    if ids:
        st.session_state["picked"] = Picked(dataset, list(dict.fromkeys(ids)), chart)
    elif picked(dataset).source == chart:
        # A double click in the chart that the selection came from.
        clear()


def highlighted(chart: str, signature: str, now: Picked) -> list[int] | None:
    """Return the row ids that a chart must carry as highlighted, None for none.

    The chart that the selection came from keeps what it carried before, so that it does not change under the
    person's hands. When it changes anyway (flags, axes, theme, another visit of the page: `signature`), it
    carries the selection too.
    """
    shown = st.session_state.setdefault("shown_in_charts", {})
    before = shown.get(chart)
    if now.source == chart and before is not None and before[0] == signature:
        return before[1]
    carried = sorted(now.ids) if now.ids else None
    shown[chart] = (signature, carried)
    return carried


def signature(*parts: object) -> str:
    """Name everything besides the selection that a chart depends on."""
    return "|".join(
        frames.table_key(part) if isinstance(part, pd.Series) else str(part)
        for part in (*parts, st.session_state.get("page_visit", 0))
    )
