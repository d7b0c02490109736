import numpy as np
import pytest
from statsmodels.stats.power import normal_power_het

from core.safety.intervals import rate_change
from core.safety.power import POWER, _probes, detectable_difference, prompts_needed


@pytest.mark.parametrize(("n", "rise"), [(100, 0.08), (200, 0.06), (400, 0.04)])
def test_one_seed_has_the_power_of_the_textbook_formula(n, rise):
    change = _probes(np.random.default_rng(0), n, 1, 0.3, rise, 0.02, 0.0)
    power = (rate_change(change, 0.95, False).low > 0).mean()
    discordant = 0.04 + rise
    # Connett, Smith and McHugh, Biometrics 43 (1987): paired proportions.
    book = normal_power_het(
        rise, n, 0.025, std_null=discordant**0.5, std_alternative=(discordant - rise**2) ** 0.5, alternative="larger"
    )
    assert power == pytest.approx(book, abs=0.07)


def test_simulated_probes_change_by_what_they_should():
    change = _probes(np.random.default_rng(0), 200, 3, 0.2, 0.1, 0.01, 0.0)
    assert change.mean() == pytest.approx(0.1, abs=0.003)
    assert (change < 0).mean() == pytest.approx(0.01, abs=0.002)


def test_more_prompts_or_seeds_detect_less():
    assert detectable_difference(400, 3, 0.05) < detectable_difference(100, 3, 0.05)
    assert detectable_difference(100, 5, 0.05) < detectable_difference(100, 3, 0.05)
    assert detectable_difference(100, 3, 0.05) < detectable_difference(100, 2, 0.05)


def test_the_detectable_difference_is_detected_as_often_as_said():
    rise = detectable_difference(150, 3, 0.05)
    fresh = _probes(np.random.default_rng(99), 150, 3, 0.05, rise, 0.01, 0.01)
    assert (rate_change(fresh, 0.95, True).low > 0).mean() >= POWER - 0.06


def test_a_tighter_limit_needs_more_prompts_and_the_number_keeps_it():
    tight, loose = prompts_needed(0.05, 0.05, 3), prompts_needed(0.10, 0.05, 3)
    assert loose < 100 < tight
    fresh = _probes(np.random.default_rng(99), tight, 3, 0.05, 0.0, 0.01, 0.01)
    assert (rate_change(fresh, 0.95, True).high <= 0.05).mean() >= POWER - 0.06


def test_what_no_probe_can_tell_is_none():
    assert prompts_needed(0.001, 0.3, 3) is None
    assert detectable_difference(10, 2, 0.9) is None
