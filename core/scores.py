"""Scores made from gradients and lengths, their ranks, and how far they lean to short answers."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from core.errors import UserError
from core.i18n import N_

SCORES = ("self_inf_n", "self_inf", "loss")


def self_inf_n(self_inf: ArrayLike, length: ArrayLike) -> NDArray[np.float64]:
    """Length-normalised self-influence: log(Self-Inf + 1) + log(len(a) + 1).

    Parameters
    ----------
    self_inf : array_like, [n]
        ‖∇θ ℓ‖², ≥ 0.
    length : array_like, [n]
        Answer length, in the unit of the setting (tokens or whitespace words).

    Notes
    -----
    Guan et al., ICML 2025, arXiv 2505.06843. Natural logarithms.
    """
    return np.log1p(np.asarray(self_inf, dtype=np.float64)) + np.log1p(np.asarray(length, dtype=np.float64))


def with_length_unit(scores: pd.DataFrame, unit: str) -> pd.DataFrame:
    """Return the scores with ``self_inf_n`` computed for answer length in ``unit`` ("tokens" or "words")."""
    return scores.assign(self_inf_n=self_inf_n(scores["self_inf"], scores[f"answer_{unit}"]))


def ranks(scores: pd.DataFrame, score: str) -> pd.Series:
    """Return each row's rank by ``score``, 1 = highest; ties go to the smaller row id."""
    ordered = scores.sort_values([score, "row_id"], ascending=[False, True]).index
    return pd.Series(range(1, len(scores) + 1), index=ordered, name="rank").reindex(scores.index)


def top_k(scores: pd.DataFrame, score: str, k: int, exclude: Sequence[int] = ()) -> list[int]:
    """Return the row ids of the ``k`` highest by ``score``, best first.

    Parameters
    ----------
    scores : DataFrame
        With ``row_id`` and the score's column.
    score : str
        Column to rank by.
    k : int
        How many.
    exclude : sequence of int
        Row ids that must not come up (the held-out rows, where something is to be trained).

    Raises
    ------
    UserError
        When there is no such score, or fewer than ``k`` rows.
    """
    if score not in scores:
        raise UserError(N_("There is no score called {score}."), score=score)
    eligible = scores[~scores["row_id"].isin(list(exclude))]
    if not 1 <= k <= len(eligible):
        raise UserError(N_("Cannot take the top {k}: {n} rows can be chosen from."), k=k, n=len(eligible))
    best = eligible.sort_values([score, "row_id"], ascending=[False, True]).head(k)
    return [int(row_id) for row_id in best["row_id"]]


def length_bias(scores: pd.DataFrame, score: str, k: int, unit: str = "tokens") -> dict[str, float]:
    """Say how far a score's top k lean to short answers.

    Returns
    -------
    dict
        ``median_top`` and ``median_all`` (answer lengths in ``unit``), and ``spearman`` (rank correlation of score
        and length over all rows, nan where either is constant).
    """
    length = scores[f"answer_{unit}"]
    top = scores["row_id"].isin(top_k(scores, score, min(k, len(scores))))
    return {
        "median_top": float(length[top].median()),
        "median_all": float(length.median()),
        "spearman": float(scores[score].corr(length, method="spearman")),
    }
