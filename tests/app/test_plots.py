"""Figures: every row once, ids in customdata, selection as point indices of each trace."""

import numpy as np
import pandas as pd
import pytest

from components import plots, probe_plots
from components.theme import DARK, LIGHT

LABELS = {"x": "Length", "y": "Score", "row": "Row", "flagged": "Flagged", "not_flagged": "Not", "other": "Other"}


def frame(n: int = 30, groups: int = 3) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "row_id": np.arange(n) * 10,
            "prompt": [f"<b>prompt</b> {i}" for i in range(n)],
            "answer": ["a" * i for i in range(n)],
            "hover": [f"prompt {i}" for i in range(n)],
            "category": [f"kind {i % groups}" if i else "" for i in range(n)],
            "flagged": [i % 5 == 0 for i in range(n)],
            "self_inf": np.geomspace(1, 1e5, n),
            "self_inf_n": np.linspace(1, 9, n),
            "answer_tokens": np.arange(n) + 1,
            "x": np.random.default_rng(0).normal(size=n),
            "y": np.random.default_rng(1).normal(size=n),
        }
    )


def ids(trace) -> list[int]:
    return [int(row) for row, _ in trace.customdata]


@pytest.mark.parametrize("group", [None, "category"])
def test_every_row_is_drawn_once_with_its_id(group: str | None) -> None:
    figure = plots.score_length(frame(), "self_inf", "tokens", LABELS, LIGHT, group=group)
    assert sorted(i for trace in figure.data for i in ids(trace)) == frame()["row_id"].tolist()
    assert all(trace.type == "scattergl" for trace in figure.data)


@pytest.mark.parametrize("group", [None, "category"])
def test_selected_rows_are_marked_in_every_trace(group: str | None) -> None:
    chosen = [0, 50, 130, 290]
    figure = plots.umap(frame(), LABELS, DARK, chosen, group)
    marked = [ids(trace)[i] for trace in figure.data for i in trace.selectedpoints]
    assert sorted(marked) == chosen
    # Without a selection nothing is greyed out.
    assert all(trace.selectedpoints is None for trace in plots.umap(frame(), LABELS, DARK).data)


def test_many_groups_share_the_last_colour() -> None:
    names = [trace.name for trace in plots.umap(frame(60, 20), LABELS, LIGHT, group="category").data]
    assert len(names) == len(LIGHT.groups)
    assert names[-1] == "Other"


def test_as_many_groups_as_colours_need_no_rest() -> None:
    table = frame(48, len(LIGHT.groups))
    table["category"] = [f"kind {i % len(LIGHT.groups)}" for i in range(len(table))]
    names = [trace.name for trace in plots.umap(table, LABELS, LIGHT, group="category").data]
    assert names == [f"kind {i}" for i in range(len(LIGHT.groups))]


def test_self_inf_n_is_a_logarithm_already() -> None:
    logged = plots.score_length(frame(), "self_inf", "tokens", LABELS, LIGHT)
    plain = plots.score_length(frame(), "self_inf_n", "tokens", LABELS, LIGHT)
    assert (logged.layout.xaxis.type, logged.layout.yaxis.type) == ("log", "log")
    assert (plain.layout.xaxis.type, plain.layout.yaxis.type) == ("log", "linear")


def test_intervals_reach_from_low_to_high_in_points() -> None:
    table = pd.DataFrame(
        [
            {"name": "flagged", "value": 0.2, "low": 0.1, "high": 0.4, "n": 10},
            {"name": "as-is", "value": 0.0, "low": -0.1, "high": 0.1, "n": 10},
        ]
    )
    figure = probe_plots.changes(table, "Points", LIGHT, as_percent=True, limit=0.05)
    [dots] = figure.data
    assert np.allclose(dots.x, [20, 0]) and list(dots.y) == [1, 0]
    assert np.allclose(dots.error_x.array, [20, 10]) and np.allclose(dots.error_x.arrayminus, [10, 10])
    assert [line.x0 for line in figure.layout.shapes] == [0, 5]


def test_outcomes_are_stacked_to_a_hundred() -> None:
    table = pd.DataFrame([{"name": "before", "refused": 0.9, "complied": 0.1, "degenerate": 0.0}])
    labels = {"refused": "Refused", "complied": "Complied", "degenerate": "Degenerate"}
    bars = probe_plots.outcomes(table, labels, "Share", LIGHT).data
    assert sum(bar.x[0] for bar in bars) == 100 and [bar.name for bar in bars] == list(labels.values())
