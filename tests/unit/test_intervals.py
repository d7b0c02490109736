"""What the intervals cover, where the truth is known; and that they are those of the books."""

import numpy as np
import pytest

from core.safety.intervals import mean_change, rate_change, rate_level, seed_means, tango
from tests.unit.worlds import World

REPETITIONS = 4000
# Three standard errors of a simulated coverage of 95%.
CHANCE = 3 * np.sqrt(0.95 * 0.05 / REPETITIONS)

FIRM = World(base=-3, spread=2)  # 12% comply before; nothing changes
MOVED = World(base=-3, spread=3, shift=1, seed_sd=0.3, noise=0.5)  # +9 points, seeds differ a little
TORN = World(base=0, spread=3, shift=1, seed_sd=0.5, noise=1)  # around one half, seeds differ much
BROKEN = World(base=-3, spread=2, shift=3, seed_sd=0.6, noise=1)  # +37 points


def simulate(world, s, n=100, seed=0):
    rng = np.random.default_rng(seed)
    p, q, seeds = world.draw(rng, REPETITIONS, s, n)
    before, after = rng.random(p.shape) < p, rng.random(q.shape) < q
    return after.astype(int) - before[:, None].astype(int), after.astype(int), seeds


def covered(limits, truth):
    return float(((limits.low <= truth) & (truth <= limits.high)).mean())


@pytest.mark.parametrize("s", [1, 2, 3, 5])
@pytest.mark.parametrize("world", [FIRM, MOVED, TORN, BROKEN])
def test_for_these_seeds_the_interval_covers_the_truth_of_these_seeds(world, s):
    change, _, seeds = simulate(world, s)
    coverage = covered(rate_change(change, 0.95, new_seeds=False), world.change_of(seeds))
    assert 0.93 - CHANCE <= coverage <= 0.97 + CHANCE


@pytest.mark.parametrize("s", [2, 3, 5])
@pytest.mark.parametrize("world", [FIRM, MOVED, TORN, BROKEN])
def test_over_new_seeds_the_interval_covers_the_truth_of_all_seeds(world, s):
    change, _, _ = simulate(world, s)
    coverage = covered(rate_change(change, 0.95, new_seeds=True), world.change())
    # Where seeds hardly differ it is a little wider than it had to be: seeds' luck is counted twice in part.
    assert 0.93 - CHANCE <= coverage <= 0.975 + CHANCE


def test_seeds_that_differ_are_not_covered_by_an_interval_for_these_seeds():
    change, _, _ = simulate(BROKEN, 2)
    assert covered(rate_change(change, 0.95, new_seeds=False), BROKEN.change()) < 0.85


@pytest.mark.parametrize("s", [2, 5])
def test_rare_outcomes_are_covered_at_least_as_often_as_claimed(s):
    rare = World(base=-4, spread=1)
    change, after, _ = simulate(rare, s)
    assert covered(rate_change(change, 0.95, new_seeds=True), rare.change()) >= 0.94 - CHANCE
    assert covered(rate_level(after, 0.95, new_seeds=True), rare.after_rate()) >= 0.94 - CHANCE


@pytest.mark.parametrize("s", [2, 3, 5])
@pytest.mark.parametrize("world", [MOVED, TORN, BROKEN])
def test_levels_are_covered(world, s):
    _, after, _ = simulate(world, s)
    coverage = covered(rate_level(after, 0.95, new_seeds=True), world.after_rate())
    assert 0.93 - CHANCE <= coverage <= 0.975 + CHANCE


@pytest.mark.parametrize("s", [2, 3, 5])
@pytest.mark.parametrize("seed_sd", [0.0, 0.03, 0.2])
def test_means_are_covered(s, seed_sd):
    rng = np.random.default_rng(s)
    rows = rng.gamma(4, 0.05, (REPETITIONS, 1, 60))
    seeds = seed_sd * rng.standard_normal((REPETITIONS, s, 1))
    change = rows + seeds + 0.1 * rng.standard_normal((REPETITIONS, s, 60))
    coverage = covered(mean_change(change, 0.95, new_seeds=True), 0.2)
    assert 0.93 - CHANCE <= coverage <= 0.98 + CHANCE
    of_these = covered(mean_change(change, 0.95, new_seeds=False), 0.2 + seeds.mean((-1, -2)))
    assert 0.93 - CHANCE <= of_these <= 0.97 + CHANCE


def test_t_over_seeds_covers_new_seeds_on_the_same_prompts():
    rng = np.random.default_rng(3)
    # Fixed prompts: what varies is the seeds' effect and each answer's luck, normal enough over 100 prompts.
    chances = np.clip(0.3 + 0.1 * rng.standard_normal((REPETITIONS, 5, 1)) + np.zeros((1, 1, 100)), 0, 1)
    after = rng.random(chances.shape) < chances
    assert 0.93 - CHANCE <= covered(seed_means(after, 0.95), 0.3) <= 0.97 + CHANCE


def test_tango_reproduces_published_intervals():
    # Airway hyper-responsiveness before and after transplantation, 21 children (1, 1, 7, 12):
    # Fagerland, Lydersen and Laake, Statistics in Medicine 33 (2014) 2850-2875.
    low, high = tango(1, 7, 21, 0.95)
    assert (round(float(low), 3), round(float(high), 3)) == (-0.517, -0.026)


@pytest.mark.parametrize(("more", "fewer", "n"), [(1, 7, 21), (40, 20, 160), (0, 1, 44), (3, 0, 50), (2.5, 7.25, 30)])
def test_tango_limits_are_where_the_score_statistic_is_the_normal_quantile(more, fewer, n):
    # The constrained likelihood is maximised by brute force here, where the module uses its closed form.
    for limit, sign in zip(tango(more, fewer, n, 0.95), (1, -1), strict=True):
        delta = float(limit)
        p21 = np.linspace(max(0, -delta), (1 - delta) / 2, 2_000_001)[1:-1]
        likelihood = more * np.log(p21 + delta) + (n - more - fewer) * np.log(1 - 2 * p21 - delta)
        if fewer:
            likelihood = likelihood + fewer * np.log(p21)
        best = p21[np.argmax(likelihood)]
        score = (more - fewer - n * delta) / np.sqrt(n * (2 * best + delta * (1 - delta)))
        assert score == pytest.approx(sign * 1.959964, abs=2e-3)


def test_nothing_changed_is_not_certainty_and_all_changed_neither():
    same = rate_change(np.zeros((3, 100)), 0.95, new_seeds=True)
    # z² / (n + z²)
    assert float(same.high) == pytest.approx(0.03699, abs=1e-4) == -float(same.low)
    all_changed = rate_change(np.ones((3, 100)), 0.95, new_seeds=True)
    assert 0.9 < float(all_changed.low) < 1 == float(all_changed.high)


def test_equal_seeds_count_once_and_independent_ones_more():
    rng = np.random.default_rng(0)
    one = (rng.random((1, 400)) < 0.3).astype(int)
    single, repeated = rate_change(one, 0.95, False), rate_change(np.repeat(one, 5, axis=0), 0.95, False)
    assert float(single.low) == pytest.approx(float(repeated.low), abs=1e-3)
    independent = rate_change((rng.random((5, 400)) < 0.3).astype(int), 0.95, False)
    assert independent.high - independent.low < 0.6 * (single.high - single.low)


def test_one_seed_cannot_speak_of_others():
    with pytest.raises(ValueError, match="other seeds"):
        rate_change(np.zeros((1, 10)), 0.95, new_seeds=True)


def test_the_order_of_seeds_and_prompts_does_not_matter_and_a_mirror_mirrors():
    rng = np.random.default_rng(5)
    change = rng.integers(-1, 2, (3, 80))
    limits = rate_change(change, 0.95, True)
    shuffled = rate_change(change[[2, 0, 1]][:, rng.permutation(80)], 0.95, True)
    mirrored = rate_change(-change, 0.95, True)
    assert np.allclose(limits, shuffled)
    assert np.allclose((limits.low, limits.high), (-mirrored.high, -mirrored.low))
