"""One probe of the bundled model on a few real rows: the same code as a long one, minutes instead of an hour."""

import math

import pytest
import torch

from core import models
from core.datasets import holdout_ids, read_dataset
from core.probe import choose_benign, compare, load_prompts, run_after, run_before
from core.probe_settings import ProbeSettings
from core.sample import SAMPLE_PATH
from core.settings import get_settings

pytestmark = pytest.mark.slow


def test_a_probe_of_the_bundled_model_learns_its_rows_and_leaves_the_model_alone() -> None:
    settings = ProbeSettings(
        limit_prompts=4, limit_benign=4, max_new_tokens=12, max_length=128, epochs=4, batch_rows=4, learning_rate=1e-3
    )
    loaded = models.load("bundled", get_settings())
    rows = read_dataset(SAMPLE_PATH).rows
    held = holdout_ids(rows)
    benign = choose_benign([row for row in rows if row.row_id in held], settings)
    chosen = [row for row in rows if row.row_id not in held and 4 <= len(row.answer.split()) <= 30][:8]
    prompts, rejected = load_prompts(settings)
    weights = {name: value.clone() for name, value in loaded.model.state_dict().items()}

    before = run_before(loaded, settings, prompts, benign)
    run = run_after(loaded, settings, chosen, prompts, benign)
    result = compare(loaded, settings, before, run)

    assert rejected == []
    assert all(torch.equal(value, weights[name]) for name, value in loaded.model.state_dict().items())
    curve = result.train.loss_curve
    assert len(curve) == result.train.steps == 8 and all(map(math.isfinite, curve))
    assert sum(curve[-2:]) < 0.8 * sum(curve[:2])
    for metrics in (result.before, result.after):
        shares = [metrics.harmful_compliance, metrics.refused, metrics.degenerate]
        assert [rate.n for rate in shares] == [4, 4, 4]
        assert sum(rate.k for rate in shares) == 4
        assert metrics.benign_loss.n == 4
    assert result.before.benign_loss.value != result.after.benign_loss.value
    harmful = [pair for pair in result.answers if pair.kind == "harmful"]
    assert [pair.prompt_id for pair in harmful] == [prompt.prompt_id for prompt in prompts]
    assert all(pair.before.answer.strip() for pair in harmful)
