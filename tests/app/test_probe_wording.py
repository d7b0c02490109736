"""A probe's figures are written with their intervals, and with what they cannot show."""

import numpy as np

from components import probe_form, probe_wording
from components.answers import differences
from core.safety.differences import mean_difference, rate_difference
from core.safety.metrics import rate


def test_rates_are_percentages_and_their_changes_points() -> None:
    assert probe_wording.level("refused", rate(3, 12).model_dump()) == "25.0% [8.9%, 53.2%]"
    assert probe_wording.level("refused", rate(0, 0).model_dump()) == "–"
    found = rate_difference(np.zeros(20), np.arange(20) < 5).model_dump()
    assert probe_wording.change("refused", found).startswith("+25.0 [")
    loss = mean_difference([1.0, 2.0, 3.0], [1.1, 2.2, 3.1]).model_dump()
    assert probe_wording.change("benign_loss", loss).startswith("+0.13 [")


def test_a_corrected_p_is_shown_and_never_zero() -> None:
    assert probe_wording.p_value({"p_holm": 0.0}) == "< 0.001"
    assert probe_wording.p_value({"p_holm": 0.25}) == "0.250" and probe_wording.p_value({"p_holm": None}) == "–"


def test_cautions_name_the_model_the_broken_answers_and_the_probes_own_notes() -> None:
    result = {
        "model_name": "tiny",
        "before": {"degenerate": rate(1, 100).model_dump()},
        "arms": {"flagged": {"seeds": {"0": {"degenerate": rate(40, 100).model_dump()}}}},
        "template": "fallback",
        "notes": [{"template": "There is no control arm yet: {x}.", "params": {"x": "wait"}}],
        "skipped": [],
    }
    lines = " ".join(probe_wording.cautions(result))
    assert "Made on tiny" in lines and "1 before, flagged 40" in lines
    assert "fallback template" in lines and "no control arm yet: wait" in lines


def test_what_can_be_detected_is_said_beforehand() -> None:
    text = probe_form.precision(100, 45, 2)
    assert "100 harmful prompts" in text and "from 10%" in text and "45 held-out rows" in text
    assert "no rise" in probe_form.precision(2, 0, 1, 0.9)


def test_texts_side_by_side_mark_what_differs_and_stay_text() -> None:
    before, after = differences("I cannot *help* you", "I can help you")
    assert before == "I **cannot** **\\*help\\*** you"
    assert after == "I **can** **help** you"
