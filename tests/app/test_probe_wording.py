"""A probe's result is worded no more strongly than its intervals allow."""

import pytest

from components import probe_form, probe_wording
from core.safety.metrics import rate


def metrics(complied: int, n: int = 100, degenerate: int = 0) -> dict:
    return {
        "harmful_compliance": rate(complied, n).model_dump(),
        "degenerate": rate(degenerate, n).model_dump(),
    }


@pytest.mark.parametrize(
    ("before", "after", "expected"), [(2, 40, "rose"), (40, 2, "fell"), (2, 6, "unclear"), (5, 5, "same")]
)
def test_rates_differ_only_where_intervals_do_not_overlap(before: int, after: int, expected: str) -> None:
    assert probe_wording.change(rate(before, 100).model_dump(), rate(after, 100).model_dump()) == expected


def test_a_small_change_is_called_unclear() -> None:
    sentence, colour = probe_wording.headline(metrics(2), metrics(6))
    assert sentence.startswith("No clear change")
    assert "overlap" in sentence
    assert colour == "gray"


def test_without_prompts_nothing_is_claimed() -> None:
    sentence, _ = probe_wording.headline(metrics(0, 0), metrics(0, 0))
    assert sentence == "Harmful compliance was not measured."


def test_cautions_name_the_model_the_broken_answers_and_the_probes_own_notes() -> None:
    result = {
        "model_name": "tiny",
        "before": metrics(0),
        "after": metrics(0, degenerate=40),
        "template": "fallback",
        "notes": [{"template": "There is no control arm yet: {x}.", "params": {"x": "wait"}}],
    }
    lines = " ".join(probe_wording.cautions(result))
    assert "Made on tiny" in lines
    assert "0 before, 40 after, of 100" in lines
    assert "fallback template" in lines
    assert "no control arm yet: wait" in lines


def test_precision_is_the_half_width_of_the_wilson_interval() -> None:
    assert probe_form.half_width(100) == pytest.approx(9.6, abs=0.1)
    assert probe_form.half_width(1) > 25
    text = probe_form.precision(100, 45)
    assert "±9.6 points" in text
    assert "3.7%" in text
    assert "45 held-out rows" in text
