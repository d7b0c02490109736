"""What a probe can tell before it is run: by simulating it, with the very intervals that will judge it.

No library has the power of these intervals (paired, several seeds, t over seeds); statsmodels' formula for one seed is
what the tests hold them against. The model is plain: a share of prompts changes each way by luck, on top of the change
proper; seeds differ in the change proper; half of a prompt's luck is common to all seeds.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from core.safety.differences import LEVEL
from core.safety.intervals import Limits, rate_change

POWER = 0.8
# Share of prompts that change each way by luck alone, where the base rate has room for it.
CHURN = 0.01
# Standard deviation of the true change between seeds, as a share.
SEED_SD = 0.01
MAX_PROMPTS = 2000
_PROBES = 500
_COMMON_LUCK = 0.5
_T = TypeVar("_T")


@lru_cache(maxsize=256)
def detectable_difference(
    n_prompts: int,
    seeds: int,
    base_rate: float,
    power: float = POWER,
    churn: float = CHURN,
    seed_sd: float = SEED_SD,
    level: float = LEVEL,
) -> float | None:
    """Return the smallest rise of a rate that the probe's interval would tell from no change.

    Parameters
    ----------
    n_prompts, seeds : int
        Size of the probe. With one seed the answer holds for that seed alone.
    base_rate : float
        Rate before, e.g. the share of harmful prompts that are complied with.
    power : float
        Chance that the interval then lies above 0.
    churn : float
        Share of prompts that change each way by luck.
    seed_sd : float
        Standard deviation of the change between seeds.
    level : float
        Confidence of the interval.

    Returns
    -------
    float or None
        A share (0.1 is 10 points), to half a point; None where even the largest rise is missed.
    """
    steps = [step / 200 for step in range(1, int(200 * (1 - base_rate)) + 1)]

    def told(rise: float) -> bool:
        found = _limits(n_prompts, seeds, base_rate, rise, churn, seed_sd, level)
        return bool((found.low > 0).mean() >= power)

    return _first(steps, told)


@lru_cache(maxsize=256)
def prompts_needed(
    limit: float,
    base_rate: float,
    seeds: int,
    power: float = POWER,
    churn: float = CHURN,
    seed_sd: float = SEED_SD,
    level: float = LEVEL,
) -> int | None:
    """Return how many prompts it takes for an interval to lie within a limit when nothing really changed.

    Parameters
    ----------
    limit : float
        The rate may rise by at most this share.
    base_rate, seeds, power, churn, seed_sd, level
        As in `detectable_difference`; ``power`` is the chance that the upper limit keeps below ``limit``.

    Returns
    -------
    int or None
        Prompts, in tens; None when `MAX_PROMPTS` do not suffice: it takes more seeds, or a wider limit.
    """

    def kept(n: int) -> bool:
        found = _limits(n, seeds, base_rate, 0.0, churn, seed_sd, level)
        return bool((found.high <= limit).mean() >= power)

    return _first(list(range(10, MAX_PROMPTS + 1, 10)), kept)


def _first(candidates: list[_T], holds: Callable[[_T], bool]) -> _T | None:
    """The first candidate for which it holds, given that it then holds for all later ones."""
    low, high = 0, len(candidates)
    while low < high:
        middle = (low + high) // 2
        if holds(candidates[middle]):
            high = middle
        else:
            low = middle + 1
    return candidates[low] if low < len(candidates) else None


def _limits(n: int, seeds: int, base: float, rise: float, churn: float, seed_sd: float, level: float) -> Limits:
    # The same luck for every candidate, so that the search meets a smooth curve.
    change = _probes(np.random.default_rng(0), n, seeds, base, rise, churn, seed_sd)
    return rate_change(change, level, new_seeds=seeds > 1)


def _probes(
    rng: np.random.Generator, n: int, seeds: int, base: float, rise: float, churn: float, seed_sd: float
) -> NDArray[np.int8]:
    """Changes of `_PROBES` probes, [R, S, N] of -1, 0, 1."""
    shape = (_PROBES, seeds, n)
    lucky = min(churn, base * (1 - base))
    rises = rise + (seed_sd * rng.standard_normal((_PROBES, seeds, 1)) if seeds > 1 else 0.0)
    before = rng.random((_PROBES, 1, n), dtype=np.float32) < base
    up = np.clip((lucky + np.maximum(rises, 0)) / max(1 - base, 1e-9), 0, 1)
    down = np.clip((lucky + np.maximum(-rises, 0)) / max(base, 1e-9), 0, 1)
    common, own = rng.random((_PROBES, 1, n), dtype=np.float32), rng.random(shape, dtype=np.float32)
    luck = np.where(rng.random(shape, dtype=np.float32) < _COMMON_LUCK, common, own)
    changed = luck < np.where(before, down, up)
    return np.where(changed, np.where(before, -1, 1), 0).astype(np.int8)
