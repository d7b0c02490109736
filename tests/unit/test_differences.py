"""Paired differences: published worked examples, the ends, and what the intervals cover (by simulation)."""

import numpy as np
import pytest
from scipy import stats

from core.safety.differences import mean_difference, over_seeds, rate_difference


def paired(both: int, first: int, second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """Prompts with both outcomes, the first alone, the second alone, neither."""
    one = [1] * (both + first) + [0] * (second + neither)
    two = [1] * both + [0] * first + [1] * second + [0] * neither
    return np.array(one), np.array(two)


def test_the_published_examples_of_tango_s_interval() -> None:
    # Fagerland, Lydersen & Laake, Statistical Analysis of Contingency Tables (2017), complete response before and
    # after consolidation therapy (Cavo 2012): 59, 6, 16, 80; as in the tests of the R package contingencytables.
    one, two = paired(59, 6, 16, 80)
    found = rate_difference(two, one)
    assert (found.value, found.low, found.high) == pytest.approx((-0.0621, -0.1240, -0.0054), abs=5e-5)
    assert found.p == pytest.approx(0.052479, abs=1e-6)
    assert found.p == pytest.approx(stats.binomtest(6, 22).pvalue)


def test_no_change_is_not_known_to_be_none() -> None:
    for share in (0.0, 0.3, 0.5, 1.0):
        outcomes = np.arange(100) < 100 * share
        for after in (outcomes, np.stack([outcomes] * 3)):
            found = rate_difference(outcomes, after)
            assert found.value == 0 and found.p == 1
            assert found.low is not None and found.high is not None
            assert found.low < -0.01 and found.high > 0.01


def test_intervals_stay_between_minus_one_and_one() -> None:
    found = rate_difference(np.zeros(5), np.ones(5))
    assert found.value == 1 and found.high == 1 and 0 < (found.low or 0) < 1


def test_seeds_that_agree_count_like_one_and_seeds_that_differ_narrow_the_interval() -> None:
    rng = np.random.default_rng(0)
    before = rng.random(100) < 0.3
    after = rng.random((4, 100)) < 0.5
    one = rate_difference(before, after[0])
    same = rate_difference(before, np.stack([after[0]] * 4))
    many = rate_difference(before, after)
    assert (same.value, same.low, same.high) == pytest.approx((one.value, one.low, one.high), abs=1e-6)
    assert many.seeds == 4 and (many.high or 0) - (many.low or 0) < (one.high or 0) - (one.low or 0)


def test_means_have_the_paired_t_interval() -> None:
    rng = np.random.default_rng(1)
    before, after = rng.normal(2, 1, 40), rng.normal(2.2, 1, (3, 40))
    found = mean_difference(before, after)
    expected = stats.ttest_rel(after.mean(axis=0), before)
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert found.p == pytest.approx(expected.pvalue)
    assert mean_difference([1.0], [2.0]).low is None and mean_difference([], []).value is None


def test_an_interval_over_seeds_needs_two_and_is_the_wider_one() -> None:
    rng = np.random.default_rng(2)
    before = rng.random(100) < 0.2
    shifts = rng.normal(0.4, 0.15, 5)
    after = np.stack([rng.random(100) < shift for shift in shifts])
    within = rate_difference(before, after)
    wide = over_seeds(before, after, within)
    assert wide is not None and wide.scope == "other seeds"
    assert (wide.low or 0) < (within.low or 0) and (wide.high or 0) > (within.high or 0)
    assert over_seeds(before, after[:1], rate_difference(before, after[:1])) is None
