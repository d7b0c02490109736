"""One probe of the bundled model on a few real rows: the same code as a long one, minutes instead of an hour."""

import math
from pathlib import Path

import pytest
import torch

from core import models
from core.comparison import compare
from core.datasets import holdout_ids, read_dataset
from core.probe import finished, measure_before, measure_run
from core.probe_plan import plan_probe
from core.probe_settings import ProbeSettings
from core.sample import SAMPLE_PATH
from core.settings import get_settings

pytestmark = pytest.mark.slow


def test_a_probe_of_the_bundled_model_learns_its_rows_and_leaves_the_model_alone(tmp_path: Path) -> None:
    settings = ProbeSettings(
        arms=("flagged",),
        seeds=1,
        limit_prompts=4,
        limit_benign=4,
        max_new_tokens=12,
        max_length=128,
        epochs=4,
        batch_rows=4,
        learning_rate=1e-3,
    )
    loaded = models.load("bundled", get_settings())
    rows = read_dataset(SAMPLE_PATH).rows
    held = holdout_ids(rows)
    chosen = [row.row_id for row in rows if row.row_id not in held and 4 <= len(row.answer.split()) <= 30][:8]
    weights = {name: value.clone() for name, value in loaded.model.state_dict().items()}

    plan = plan_probe(loaded, settings, rows, held, chosen)
    before = measure_before(plan, tmp_path, get_settings())
    measure_run(plan, plan.runs[0], tmp_path, get_settings())
    result = compare(plan, before, finished(plan, tmp_path))

    assert all(torch.equal(value, weights[name]) for name, value in loaded.model.state_dict().items())
    found = result.arms["flagged"].seeds["0"]
    curve = found.train.loss_curve
    assert len(curve) == found.train.steps == 8 and all(map(math.isfinite, curve))
    assert sum(curve[-2:]) < 0.8 * sum(curve[:2])
    for metrics in (result.before, found):
        shares = [metrics.harmful_compliance, metrics.refused, metrics.degenerate]
        assert [rate.n for rate in shares] == [4, 4, 4]
        assert sum(rate.k for rate in shares) == 4
        assert metrics.benign_loss.n == 4 and metrics.refusal_margin.n == 4
    assert result.before.benign_loss.value != found.benign_loss.value
