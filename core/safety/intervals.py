"""Confidence limits of paired differences, of levels and of means, over prompts and over seeds.

Everything takes arrays that end in ``[S, N]`` (seeds × prompts) and may have dimensions before, so that a
simulation runs thousands of probes at once. docs/statistics.md says which limit covers what, and why.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import elementwise
from statsmodels.stats.proportion import proportion_confint

Floats = NDArray[np.float64]
# So many pseudo-prompts on which all seeds agree: a few changed answers cannot prove seeds independent.
PSEUDO_PROMPTS = 2.0


class Limits(NamedTuple):
    """Two limits at one confidence level."""

    low: Floats
    high: Floats


def tango(more: Any, fewer: Any, n: Any, level: float) -> Limits:
    """Tango's score interval for a difference of paired proportions.

    Parameters
    ----------
    more, fewer : array
        Pairs that changed from no to yes, and from yes to no. Fractions are allowed (effective counts).
    n : array
        Pairs.
    level : float
        Confidence, two-sided.

    References
    ----------
    Tango, Statistics in Medicine 17 (1998) 891-908, eq. 7 and 8.
    """
    more, fewer, n = np.broadcast_arrays(*(np.asarray(value, dtype=float) for value in (more, fewer, n)))
    z = float(stats.norm.isf((1 - level) / 2))
    value = (more - fewer) / n

    def excess(delta: Floats, more: Floats, fewer: Floats, n: Floats, z: Floats) -> Floats:
        b = -more - fewer + (2 * n - more + fewer) * delta
        c = -fewer * delta * (1 - delta)
        fitted = (np.sqrt(np.maximum(b * b - 8 * n * c, 0)) - b) / (4 * n)
        # Never quite 0: where nothing changed, the estimate itself would else pass for a root.
        variance = np.maximum(n * (2 * fitted + delta * (1 - delta)), 1e-300)
        result: Floats = more - fewer - n * delta - z * np.sqrt(variance)
        return result

    one = np.ones_like(value)
    low = elementwise.find_root(excess, (-one, value), args=(more, fewer, n, z * one)).x
    high = elementwise.find_root(excess, (value, one), args=(more, fewer, n, -z * one)).x
    # At the end of the range there is no room for a root.
    return Limits(np.where(value <= -1, -1.0, low), np.where(value >= 1, 1.0, high))


def rate_change(change: Any, level: float, new_seeds: bool) -> Limits:
    """Limits of a mean change of a rate.

    Parameters
    ----------
    change : array [..., S, N] of -1, 0, 1
        After minus before, or one arm minus another, of each seed and prompt.
    level : float
        Confidence, two-sided.
    new_seeds : bool
        Whether to cover other seeds too (needs S ≥ 2), or new prompts only.

    Notes
    -----
    Tango's interval at the effective numbers ``k·more``, ``k·fewer`` and ``k·N``, where 1 ≤ k ≤ S says how much the
    seeds tell beyond one of them: the variance of single changes over the variance of their means over seeds.
    """
    change = np.asarray(change, dtype=float)
    s, n = change.shape[-2:]
    per_prompt = change.mean(-2)
    value = per_prompt.mean(-1)
    more = (change > 0).sum((-1, -2)) / s
    fewer = (change < 0).sum((-1, -2)) / s
    k = _effective_seeds(more + fewer, (per_prompt**2).sum(-1), value, s, n)
    return _with_seeds(change, value, tango(k * more, k * fewer, k * n, level), level, new_seeds)


def rate_level(outcome: Any, level: float, new_seeds: bool) -> Limits:
    """Limits of a rate after training: Wilson's interval at the effective number of prompts.

    Parameters are those of `rate_change`, with outcomes 0 or 1.
    """
    outcome = np.asarray(outcome, dtype=float)
    s, n = outcome.shape[-2:]
    per_prompt = outcome.mean(-2)
    value = per_prompt.mean(-1)
    k = _effective_seeds(n * value, (per_prompt**2).sum(-1), value, s, n)
    low, high = proportion_confint(k * n * value, k * n, alpha=1 - level, method="wilson")
    limits = Limits(np.clip(low, 0, value), np.clip(high, value, 1))
    return _with_seeds(outcome, value, limits, level, new_seeds)


def mean_change(change: Any, level: float, new_seeds: bool) -> Limits:
    """Limits of a mean change of a continuous figure: t over the prompts' means over seeds (needs N ≥ 2)."""
    change = np.asarray(change, dtype=float)
    n = change.shape[-1]
    per_prompt = change.mean(-2)
    value = per_prompt.mean(-1)
    half = stats.t.isf((1 - level) / 2, n - 1) * per_prompt.std(-1, ddof=1) / np.sqrt(n)
    return _with_seeds(change, value, Limits(value - half, value + half), level, new_seeds, bounded=False)


def seed_means(change: Any, level: float) -> Limits:
    """t limits over the means of the seeds: new seeds, on these very prompts (needs S ≥ 2)."""
    means = np.asarray(change, dtype=float).mean(-1)
    s = means.shape[-1]
    half = stats.t.isf((1 - level) / 2, s - 1) * means.std(-1, ddof=1) / np.sqrt(s)
    return Limits(means.mean(-1) - half, means.mean(-1) + half)


def _effective_seeds(single: Any, pooled: Any, value: Any, s: int, n: int) -> Any:
    # `single` and `pooled`: sums of squares over prompts, of one seed's figures and of their means over seeds.
    explained = n * value**2
    return np.clip((single - explained + PSEUDO_PROMPTS) / (pooled - explained + PSEUDO_PROMPTS), 1, s)


def _with_seeds(
    figures: Floats, value: Any, limits: Limits, level: float, new_seeds: bool, bounded: bool = True
) -> Limits:
    """Widen limits over prompts by what seeds vary beyond what prompts explain (square and add, as in MOVER)."""
    s, n = figures.shape[-2:]
    if not new_seeds:
        return limits
    if s < 2:
        raise ValueError("one seed says nothing about other seeds")
    per_prompt, per_seed = figures.mean(-2), figures.mean(-1)
    of_seeds = n * per_seed.var(-1, ddof=1)
    total = ((figures - np.expand_dims(value, (-1, -2))) ** 2).sum((-1, -2))
    rest = total - (s - 1) * of_seeds - s * ((per_prompt - np.expand_dims(value, -1)) ** 2).sum(-1)
    noise = rest / max((s - 1) * (n - 1), 1)
    # With few seeds the noise is taken off only in part: chosen by simulation (tests/unit/test_intervals.py).
    variance = np.maximum(of_seeds - (1 - 1 / s) * noise, 0) / (n * s)
    half = stats.t.isf((1 - level) / 2, s - 1) * np.sqrt(variance)
    low, high = value - np.hypot(value - limits.low, half), value + np.hypot(limits.high - value, half)
    floor = 0.0 if bounded and np.all(figures >= 0) and np.all(limits.low >= 0) else -1.0
    return Limits(np.maximum(low, floor), np.minimum(high, 1.0)) if bounded else Limits(low, high)
