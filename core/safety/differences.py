"""Paired differences with intervals that stay honest at small numbers.

Before and after are asked the same prompts, so everything is paired by prompt. An interval over prompts claims to
cover the mean change *of these fine-tunes* on other prompts of the same kind; `over_seeds` covers other seeds too.
The limits themselves are in `core.safety.intervals`; docs/statistics.md says what covers what, and how well.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field
from scipy import stats

from core.safety.intervals import Limits, mean_change, rate_change, rate_level

LEVEL = 0.95
# From so many seeds on a result is reported for other seeds; a verdict asks for it from two on.
SEEDS_FOR_INTERVAL = 5

Values = NDArray[np.float64]


class Difference(BaseModel):
    """A mean paired difference; the fields are None where there is too little to give them.

    ``value`` is after minus before, or one arm minus another: in shares (0.05 is five points) for rates, in the
    metric's own unit otherwise.
    """

    model_config = ConfigDict(frozen=True)

    value: float | None
    low: float | None
    high: float | None
    n: int = Field(description="prompts or rows, each compared with itself")
    seeds: int = Field(1, description="fine-tunes that it is a mean over")
    p: float | None = Field(
        None, description="two-sided, of no difference: exact McNemar, sign flips for several seeds"
    )
    p_holm: float | None = Field(None, description="p after Holm's correction for all comparisons of the probe")
    level: float = LEVEL
    method: Literal["Tango score", "paired t"] = "Tango score"
    scope: Literal["these seeds", "other seeds"] = "these seeds"


def rate_difference(first: ArrayLike, second: ArrayLike, level: float = LEVEL, test: bool = True) -> Difference:
    """Compare two rates over the same prompts: second minus first.

    Parameters
    ----------
    first, second : array_like of bool, [N] or [seeds, N]
        Whether the outcome came up, per prompt. Where both have seeds, they are paired by seed.
    level : float
        Of the interval.
    test : bool
        Whether to compute p.

    Notes
    -----
    Tango's score interval for paired proportions (Statistics in Medicine 17, 1998, 891-908), at the effective
    number of prompts where there are several seeds. Where nothing changed it does not shrink to a point.
    """
    change = _change(first, second)
    seeds, n = change.shape
    if n == 0:
        return Difference(value=None, low=None, high=None, n=0, seeds=seeds, level=level)
    limits = rate_change(change, level, new_seeds=False)
    return Difference(
        value=float(change.mean()),
        low=float(limits.low),
        high=float(limits.high),
        n=n,
        seeds=seeds,
        p=_sign_flip_p(change) if test else None,
        level=level,
    )


def mean_difference(first: ArrayLike, second: ArrayLike, level: float = LEVEL) -> Difference:
    """Compare two means over the same prompts or rows: second minus first, with a paired t interval.

    Parameters
    ----------
    first, second : array_like of float, [N] or [seeds, N]
        Losses, margins, …; several seeds are averaged per prompt.
    """
    change = _change(first, second)
    seeds, n = change.shape
    value = float(change.mean()) if n else None
    if n < 2:
        return Difference(value=value, low=None, high=None, n=n, seeds=seeds, level=level, method="paired t")
    limits = mean_change(change, level, new_seeds=False)
    per_prompt = change.mean(axis=0)
    # Equal changes everywhere leave the t test without a variance to divide by.
    p = float(stats.ttest_1samp(per_prompt, 0.0).pvalue) if per_prompt.std() > 0 else float(not per_prompt[0])
    return Difference(
        value=value,
        low=float(limits.low),
        high=float(limits.high),
        n=n,
        seeds=seeds,
        p=p,
        level=level,
        method="paired t",
    )


def over_seeds(first: ArrayLike, second: ArrayLike, within: Difference) -> Difference | None:
    """Widen an interval over prompts so that it covers other seeds too; None with one seed.

    Parameters
    ----------
    first, second : array_like, [N] or [seeds, N]
        As for `within`.
    within : Difference
        The same comparison with its interval over prompts.

    Notes
    -----
    Prompts and seeds are crossed random effects: what seeds vary beyond the noise of single answers is added, with
    t limits for few seeds (`intervals.rate_change`).
    """
    change = _change(first, second)
    if len(change) < 2 or within.low is None:
        return None
    limits: Limits = (mean_change if within.method == "paired t" else rate_change)(change, within.level, new_seeds=True)
    return within.model_copy(
        update={"low": float(limits.low), "high": float(limits.high), "scope": "other seeds", "p": None}
    )


def mean_over_seeds(values: ArrayLike, level: float = LEVEL, new_seeds: bool = False) -> tuple[float, float, float]:
    """Return a rate averaged over seeds with its Wilson interval, at the effective number of prompts.

    Parameters
    ----------
    values : array_like of bool, [seeds, N]
    level : float
        Of the interval.
    new_seeds : bool
        Whether it covers other seeds too (from two seeds on).
    """
    outcomes = np.atleast_2d(np.asarray(values, dtype=np.float64))
    limits = rate_level(outcomes, level, new_seeds)
    return float(outcomes.mean()), float(limits.low), float(limits.high)


def _change(first: ArrayLike, second: ArrayLike) -> Values:
    """Second minus first, [seeds, N]; with unequal numbers of seeds the surplus ones have no partner and drop out."""
    one, two = (np.atleast_2d(np.asarray(side, dtype=np.float64)) for side in (first, second))
    seeds = max(len(one), len(two)) if min(len(one), len(two)) == 1 else min(len(one), len(two))
    return two[:seeds] - one[:seeds]


def _sign_flip_p(change: Values) -> float:
    """McNemar's exact p; with several seeds its like for per-prompt sums, whose signs are flipped at will."""
    sums = np.rint(change.sum(axis=0)).astype(int)
    steps = np.abs(sums[sums != 0])
    # The distribution of the sum under all sign flips: each prompt adds +step or -step, here as 0 or 2·step.
    chances: Any = np.ones(1)
    for step in steps:
        flipped = np.zeros(2 * step + 1)
        flipped[[0, -1]] = 0.5
        chances = np.convolve(chances, flipped)
    possible = np.arange(len(chances)) - steps.sum()
    return float(min(1.0, chances[np.abs(possible) >= abs(sums.sum())].sum()))
