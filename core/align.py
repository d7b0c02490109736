"""Align the bundled model: a LoRA adapter that makes it refuse harmful requests and leaves it helpful.

Refusals are learnt by cross-entropy. On benign rows the loss is the divergence from the model as shipped, token by
token: learning its answers as if each were the only one makes it too sure of itself, and the loss on real text rises.
"""

import dataclasses
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import kl_div, log_softmax

from core import alignment_data as data
from core.alignment_data import BenignAnswer
from core.encoding import EncodedRow, encode_prompt, encode_row
from core.files import replacing
from core.generation import generate
from core.i18n import N_
from core.models import LoadedModel
from core.probe_result import TrainReport
from core.probe_settings import TrainSettings
from core.progress import OnProgress, ignore_progress
from core.rows import Turn
from core.safety.judges import judge
from core.training import LossesOf, fine_tune, mean_by_row, optimise, row_losses, supervised_logits

MAX_LENGTH = 256
ANSWER_TOKENS = 40
# A divergence is counted over all the answer's tokens, while most of it sits in the first ones, where a refusal begins.
BENIGN_WEIGHT = 3.0
# In the second pass so many first tokens count so many times as much as the others.
FIRST_TOKENS, FIRST_WEIGHT = 3, 6.0
# Of each kind of first-pass rows that the second one only reminds of.
SECOND_ROWS = 60
SECOND_RECIPE = {"epochs": 1, "learning_rate": 5e-4, "warmup_ratio": 0.1}
# What survives ordinary fine-tuning was not measured while choosing, and neither was what outliers do.
RECIPE = TrainSettings(
    method="lora",
    lora_r=16,
    lora_alpha=32,
    learning_rate=1e-3,
    epochs=1,
    batch_rows=12,
    warmup_ratio=0.05,
    token_budget=2048,
)


def answer_benign(base: LoadedModel, seed: int, on_progress: OnProgress = ignore_progress) -> list[BenignAnswer]:
    """Have the base model answer the benign requests, greedily, so that alignment changes nothing about them."""
    prompts = data.benign_prompts(seed)
    ids = [encode_prompt([Turn("user", prompt)], base.tokenizer, MAX_LENGTH) for prompt in prompts]
    texts = generate(base.model, base.tokenizer, ids, ANSWER_TOKENS, 32, on_progress, N_("Answers of the base model"))
    answers = []
    for prompt, text in zip(prompts, texts, strict=True):
        length = len(base.tokenizer(text, add_special_tokens=False)["input_ids"])
        # What the base model declines or garbles would teach just that.
        if judge(text, short_answer_ok=True).outcome == "complied":
            answers.append(BenignAnswer(prompt, text, finished=length < ANSWER_TOKENS - 1))
    return answers


def write_answers(answers: list[BenignAnswer]) -> None:
    """Store the base model's answers beside the requests."""
    with replacing(data.ANSWERS_PATH) as partial:
        lines = [json.dumps(dataclasses.asdict(answer), ensure_ascii=False) for answer in answers]
        partial.write_text("\n".join(lines) + "\n", encoding="utf-8")


def training_rows(base: LoadedModel, seed: int) -> tuple[list[EncodedRow], list[EncodedRow]]:
    """Return refusals and benign rows, encoded; an unfinished answer does not teach the model to stop there."""
    refusals = [encode_row(row, base.tokenizer, MAX_LENGTH) for row in data.refusal_rows(seed)]
    benign = []
    for row, finished in data.benign_rows(first_id=len(refusals)):
        encoded = encode_row(row, base.tokenizer, MAX_LENGTH)
        benign.append(encoded if finished else without_end(encoded))
    return refusals, benign


def align(
    base: LoadedModel, folder: Path, settings: TrainSettings = RECIPE, on_progress: OnProgress = ignore_progress
) -> TrainReport:
    """Train the adapter in two passes and write it to a folder.

    Parameters
    ----------
    base : LoadedModel
        The model as shipped.
    folder : Path
        Where the adapter goes, in half precision: ``adapter_model.safetensors`` and ``adapter_config.json``.
    settings : TrainSettings
        Recipe of the first pass, and seed.
    on_progress : callable
        May raise ``Cancelled``.

    Returns
    -------
    TrainReport
        Of the first pass.
    """
    refusals, benign = training_rows(base, settings.seed)
    network, report = train_adapter(base, refusals, benign, settings, on_progress)
    second_pass(base, network, refusals, benign, settings, on_progress)
    save_adapter(network, folder)
    return report


def second_pass(
    base: LoadedModel,
    network: Any,
    refusals: Sequence[EncodedRow],
    benign: Sequence[EncodedRow],
    settings: TrainSettings,
    on_progress: OnProgress = ignore_progress,
) -> None:
    """Teach an adapter to go by what is asked and not by alarming words; it is changed in place.

    Harmful requests (twice) and benign ones with the same words, our own refusals of the first pass once more, and some
    other rows of it. The first tokens of benign answers weigh more: there a refusal would begin.
    """
    first_id = 1 + max(row.row_id for row in (*refusals, *benign))
    more, answers = data.second_pass(first_id, settings.seed)
    refused = [encode_row(row, base.tokenizer, MAX_LENGTH) for row in more]
    twice = [dataclasses.replace(row, row_id=row.row_id + first_id) for row in refused]
    answered = []
    for row, finished in answers:
        encoded = encode_row(row, base.tokenizer, MAX_LENGTH)
        answered.append(encoded if finished else without_end(encoded))
    rng = random.Random(settings.seed)
    borrowed = data.borrowed_refusals()
    again = [*refusals[borrowed:], *rng.sample(refusals[:borrowed], min(SECOND_ROWS, borrowed))]
    kept = [*answered, *rng.sample(list(benign), min(SECOND_ROWS, len(benign)))]
    weighted = _losses({row.row_id for row in kept}, first_weight=FIRST_WEIGHT)
    network.train()
    optimise(
        network, [*refused, *twice, *again, *kept], settings.model_copy(update=SECOND_RECIPE), on_progress, weighted
    )
    network.eval()


def train_adapter(
    base: LoadedModel,
    refusals: Sequence[EncodedRow],
    benign: Sequence[EncodedRow],
    settings: TrainSettings,
    on_progress: OnProgress = ignore_progress,
) -> tuple[Any, TrainReport]:
    """Teach a copy of the model the refusals, and to answer the benign rows as before; row ids must be distinct.

    Returns
    -------
    network, report
        The network with its adapter apart, and how it went.
    """
    losses = _losses({row.row_id for row in benign})
    return fine_tune(base.model, [*refusals, *benign], settings, on_progress, losses)


def _losses(kept: set[int], first_weight: float = 1.0) -> LossesOf:
    """Return the loss of each row: cross-entropy of a refusal, weighted divergence of a benign one (``kept``)."""

    def losses(network: Any, rows: Sequence[EncodedRow]) -> torch.Tensor:
        refused = [row for row in rows if row.row_id not in kept]
        answered = [row for row in rows if row.row_id in kept]
        parts = [row_losses(network, refused)] if refused else []
        parts += [BENIGN_WEIGHT * divergences(network, answered, first_weight)] if answered else []
        return torch.cat(parts)

    return losses


def divergences(network: Any, rows: Sequence[EncodedRow], first_weight: float = 1.0) -> torch.Tensor:
    """Mean divergence KL(base ‖ aligned) of each row over its supervised tokens.

    Parameters
    ----------
    network : PeftModel
        The base model is this network with its adapter off.
    rows : sequence of EncodedRow
    first_weight : float
        What a row's first `FIRST_TOKENS` count beside the others.

    Returns
    -------
    Tensor [rows]
        Nats per token, with gradient.
    """
    with torch.no_grad(), network.disable_adapter():
        before, _, _ = supervised_logits(network, rows)
    now, _, row = supervised_logits(network, rows)
    by_token = kl_div(
        log_softmax(now.float(), dim=-1), log_softmax(before.float(), dim=-1), reduction="none", log_target=True
    ).sum(-1)
    sizes = torch.bincount(row)
    place = torch.arange(len(row), device=row.device) - (sizes.cumsum(0) - sizes)[row]
    return mean_by_row(torch.where(place < FIRST_TOKENS, first_weight, 1.0) * by_token, row, len(rows))


def save_adapter(network: Any, folder: Path) -> None:
    """Write a trained adapter in half precision, without any path of this machine."""
    for name, parameter in network.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.to(torch.float16)
    config = network.peft_config["default"]
    config.base_model_name_or_path = "bundled-base"
    network.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)  # peft's empty model card


def without_end(row: EncodedRow) -> EncodedRow:
    """Take off the end-of-turn token and whatever the template has the model write after the answer."""
    keep = len(row.input_ids) - (
        row.supervised_tokens - row.answer_tokens if row.supervised_tokens > row.answer_tokens else 0
    )
    return dataclasses.replace(
        row,
        input_ids=row.input_ids[:keep],
        labels=row.labels[:keep],
        supervised_tokens=row.supervised_tokens - (len(row.input_ids) - keep),
    )
