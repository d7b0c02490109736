"""How well the bundled model is aligned: outcomes on prompts it never saw, and what ordinary fine-tuning leaves."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core import alignment_data as data
from core import models
from core.datasets import holdout_ids, read_dataset
from core.encoding import encode_prompt, encode_rows
from core.generation import generate
from core.i18n import N_
from core.models import LoadedModel
from core.precision import uses_bfloat16
from core.probe_settings import TrainSettings
from core.progress import OnProgress, ignore_progress
from core.rows import Row, Turn
from core.safety.judges import OUTCOMES, PHRASE_JUDGE, judge
from core.safety.metrics import mean, rate
from core.safety.prompts import load_builtin, subset
from core.sample import SAMPLE_PATH
from core.training import evaluate_losses, train

MAX_LENGTH = 256
MALICIOUS = "Malicious uses"
# Of the areas in which many prompts deserve an answer with a caution, so many are asked.
OTHER_PROMPTS = 100
LOSS_ROWS = 120
ANSWER_TOKENS = 64
# What a quick probe does: the recipe under which refusals must survive random benign rows.
SURVIVAL_RECIPE = TrainSettings(lora_r=8, lora_alpha=16, epochs=3, learning_rate=1e-3, batch_rows=10)
SURVIVAL_ROWS = 60
SURVIVAL_SEEDS = (0, 1)


def measure_alignment(
    base: LoadedModel,
    adapter: Path,
    recipe: TrainSettings,
    on_progress: OnProgress = ignore_progress,
    other_rows: Mapping[str, Sequence[Row]] | None = None,
    limit: int | None = None,
) -> dict[str, Any]:
    """Ask the aligned model what it never saw, and again after ordinary fine-tuning.

    Parameters
    ----------
    base : LoadedModel
        The bundled model as shipped; the adapter is merged into it, so load it again afterwards.
    adapter : Path
        Folder with the adapter.
    recipe : TrainSettings
        How it was trained, for the record.
    on_progress : callable
        May raise ``Cancelled``.
    other_rows : mapping of str to sequence of Row, optional
        Benign datasets, by name, that are measured beside the sample.
    limit : int, optional
        Ask only so many prompts of each set.

    Returns
    -------
    dict
        ``sets``: the three outcomes of each prompt set with n and 95% Wilson intervals; ``benign_loss`` by dataset
        before and after; ``survival``: outcomes on HarmBench after fine-tuning on random benign rows, by dataset and
        seed; both recipes.
    """
    tokenizer = base.tokenizer
    sample = read_dataset(SAMPLE_PATH).rows
    held = holdout_ids(sample)
    measured = {"sample, held out": [row for row in sample if row.row_id in held]}
    tuned_on = {"sample": [row for row in sample if row.row_id not in held]}
    for name, found in (other_rows or {}).items():
        measured[name] = random.Random(LOSS_ROWS).sample(list(found), min(LOSS_ROWS, len(found)))
        tuned_on[name] = list(found)
    encoded = {name: encode_rows(found, tokenizer, MAX_LENGTH)[0] for name, found in measured.items()}
    before = {name: evaluate_losses(base.model, found) for name, found in encoded.items()}
    network = models.with_adapter(base.model, adapter).eval().requires_grad_(False)
    after = {name: evaluate_losses(network, found) for name, found in encoded.items()}
    asked = {name: (kind, texts[:limit]) for name, (kind, texts) in prompt_sets().items()}
    figures: dict[str, Any] = {
        "judge": PHRASE_JUDGE,
        "recipe": recipe.model_dump(mode="json"),
        "sets": {name: outcomes(network, tokenizer, *about, on_progress, name) for name, about in asked.items()},
        "benign_loss": {name: _change(before[name], after[name]) for name in encoded},
        "survival_recipe": {
            **SURVIVAL_RECIPE.model_dump(mode="json", exclude={"seed"}),
            "rows": SURVIVAL_ROWS,
            "max_length": MAX_LENGTH,
            "used_bfloat16": uses_bfloat16(network.device, SURVIVAL_RECIPE.precision),
        },
        "survival": {name: {} for name in tuned_on},
    }
    kind, harmful = asked["HarmBench"]
    for name, found in tuned_on.items():
        for seed in SURVIVAL_SEEDS:
            drawn = random.Random(seed).sample(found, min(SURVIVAL_ROWS, len(found)))
            rows, _ = encode_rows(drawn, tokenizer, MAX_LENGTH)
            tuned, _ = train(network, rows, SURVIVAL_RECIPE.model_copy(update={"seed": seed}), on_progress)
            stage = N_("Answers after")
            figures["survival"][name][str(seed)] = outcomes(tuned, tokenizer, kind, harmful, on_progress, stage)
    return figures


def _change(before: Sequence[float], after: Sequence[float]) -> dict[str, Any]:
    """Mean loss before and after in nats per token, and the 95% t interval of the paired difference."""
    difference = mean([b - a for a, b in zip(before, after, strict=True)])
    start = sum(before) / len(before)
    return {
        "before": start,
        "after": sum(after) / len(after),
        "relative": (sum(after) / len(after)) / start - 1,
        "difference": difference.model_dump(),
    }


def prompt_sets() -> dict[str, tuple[str, list[str]]]:
    """Return the prompts that alignment never saw, by set, each with its kind."""
    held_out = load_builtin("held-out")
    others = [p for p in held_out if p.source == "do-not-answer" and p.category != MALICIOUS]
    benign = data.held_out_benign()
    return {
        "HarmBench": ("harmful", [p.text for p in held_out if p.source == "harmbench"]),
        "Do-Not-Answer, malicious uses": ("harmful", [p.text for p in held_out if p.category == MALICIOUS]),
        "Do-Not-Answer, other areas": ("harmful", [p.text for p in subset(others, OTHER_PROMPTS)]),
        "benign, plain": ("benign", benign["plain"]),
        "benign, look-alikes": ("benign", benign["lookalikes"]),
    }


def outcomes(
    model: Any, tokenizer: Any, kind: str, prompts: Sequence[str], on_progress: OnProgress, stage: str
) -> dict[str, Any]:
    """Return the three outcomes of greedy answers to prompts, each a rate with its interval."""
    ids = [encode_prompt([Turn("user", prompt)], tokenizer, MAX_LENGTH) for prompt in prompts]
    texts = generate(model, tokenizer, ids, ANSWER_TOKENS, 32, on_progress, stage)
    found = [judge(text, short_answer_ok=kind == "benign").outcome for text in texts]
    return {name: rate(found.count(name), len(found)).model_dump() for name in OUTCOMES}
