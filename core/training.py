"""A small fine-tune: LoRA or all parameters, on a copy of the model."""

import copy
import math
import random
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from core.encoding import IGNORE, EncodedRow
from core.errors import UserError
from core.i18n import N_
from core.probe_result import TrainReport
from core.probe_settings import TrainSettings
from core.progress import OnProgress, Progress, ignore_progress


def train(
    model: Any, rows: Sequence[EncodedRow], settings: TrainSettings, on_progress: OnProgress = ignore_progress
) -> tuple[Any, TrainReport]:
    """Fine-tune a copy of ``model`` and return it, adapters merged, in eval mode.

    Parameters
    ----------
    model : PreTrainedModel
        Base model; it is left as it was.
    rows : sequence of EncodedRow
        Rows with at least one supervised token each.
    settings : TrainSettings
        Recipe. The same rows, recipe and seed give the same weights.
    on_progress : callable
        Called after each micro-batch with rows and tokens done over all epochs; may raise ``Cancelled``.

    Raises
    ------
    UserError
        When there is nothing to train on, or the loss stops being a number.
    """
    if not rows:
        raise UserError(N_("There are no rows to fine-tune on."))
    started = time.perf_counter()
    # Adapter starts and dropout draw from torch's global state: seed it here, give it back afterwards.
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        network = _trainable_copy(model, settings)
        loss_curve = _optimise(network, rows, settings, on_progress)
    trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
    if settings.method == "lora":
        network = network.merge_and_unload()
    network.eval().requires_grad_(False)
    seconds = time.perf_counter() - started
    tokens = sum(len(row.input_ids) for row in rows)
    report = TrainReport(
        rows=len(rows),
        row_ids=[row.row_id for row in rows],
        supervised_tokens=sum(row.supervised_tokens for row in rows),
        tokens=tokens,
        steps=len(loss_curve),
        trainable_parameters=trainable,
        loss_curve=loss_curve,
        seconds=round(seconds, 3),
        tokens_per_second=round(tokens * settings.epochs / seconds, 1),
    )
    return network, report


def row_losses(model: Any, rows: Sequence[EncodedRow]) -> torch.Tensor:
    """Mean cross-entropy of each row over its supervised tokens.

    Only supervised positions reach the output layer: a pre-hook picks them, and the model's own forward does
    the rest (biases, soft-capping, scaling included). No logits exist for prompt positions.

    Returns
    -------
    Tensor [rows]
        Nats per token, with gradient where the model has any.
    """
    input_ids, mask, labels = _pad(rows, model.device)
    row, position = torch.nonzero(labels[:, 1:] != IGNORE, as_tuple=True)
    targets = labels[row, position + 1]

    def keep_supervised(_: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0][row, position].unsqueeze(0), *args[1:])

    hook = model.get_output_embeddings().register_forward_pre_hook(keep_supervised)
    try:
        logits = model(input_ids=input_ids, attention_mask=mask, use_cache=False).logits[0]
    finally:
        hook.remove()
    losses = cross_entropy(logits.float(), targets, reduction="none")
    sums = torch.zeros(len(rows), device=losses.device).index_add(0, row, losses)
    return sums / torch.bincount(row, minlength=len(rows))


def evaluate_losses(
    model: Any,
    rows: Sequence[EncodedRow],
    token_budget: int = 2048,
    on_progress: OnProgress = ignore_progress,
    stage: str = "Loss",
) -> list[float]:
    """Mean loss of each row (nats per token), in the order of ``rows``, without training."""
    losses: dict[int, float] = {}
    with torch.inference_mode():
        for batch in micro_batches(range(len(rows)), rows, token_budget):
            values = row_losses(model, [rows[i] for i in batch]).tolist()
            losses.update(zip(batch, values, strict=True))
            on_progress(Progress(stage, len(losses), len(rows)))
    return [losses[i] for i in range(len(rows))]


def micro_batches(which: Sequence[int], rows: Sequence[EncodedRow], token_budget: int) -> Iterator[list[int]]:
    """Cut the rows numbered ``which`` into batches of like length whose padded size fits the budget."""
    batch: list[int] = []
    for i in sorted(which, key=lambda i: (len(rows[i].input_ids), i)):
        if batch and (len(batch) + 1) * len(rows[i].input_ids) > token_budget:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


def _trainable_copy(model: Any, settings: TrainSettings) -> Any:
    network = copy.deepcopy(model)
    if settings.method == "full":
        return network.requires_grad_(True).train()
    from peft import LoraConfig, get_peft_model

    # "all-linear" leaves the output layer out, and knows GPT-2's Conv1D.
    config = LoraConfig(
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(network, config).train()


def _optimise(
    network: Any, rows: Sequence[EncodedRow], settings: TrainSettings, on_progress: OnProgress
) -> list[float]:
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ],
        lr=settings.learning_rate,
    )
    steps = math.ceil(len(rows) / settings.batch_rows) * settings.epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _warm_up_then_down(steps, settings.warmup_ratio))
    shuffle = random.Random(settings.seed)
    rows_total = len(rows) * settings.epochs
    tokens_total = sum(len(row.input_ids) for row in rows) * settings.epochs
    rows_done = tokens_done = 0
    loss_curve: list[float] = []
    for _ in range(settings.epochs):
        order = list(range(len(rows)))
        shuffle.shuffle(order)
        for start in range(0, len(order), settings.batch_rows):
            step = order[start : start + settings.batch_rows]
            step_loss = 0.0
            for batch in micro_batches(step, rows, settings.token_budget):
                # Weighted by rows, so that the micro-batches add up to the mean over the step's rows.
                loss = row_losses(network, [rows[i] for i in batch]).sum() / len(step)
                loss.backward()  # type: ignore[no-untyped-call]
                step_loss += loss.item()
                rows_done += len(batch)
                tokens_done += sum(len(rows[i].input_ids) for i in batch)
                on_progress(Progress(N_("Training"), rows_done, rows_total, tokens_done, tokens_total))
            norm = float(torch.nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm))
            if not (math.isfinite(step_loss) and math.isfinite(norm)):
                raise UserError(
                    N_("Training diverged at step {step}. Try a lower learning rate."),
                    step=len(loss_curve) + 1,
                )
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=True)
            loss_curve.append(step_loss)
    return loss_curve


def _warm_up_then_down(steps: int, warmup_ratio: float) -> Any:
    warmup = int(steps * warmup_ratio)

    def factor(step: int) -> float:
        # Never zero before the end: with few steps a wasted one matters.
        return (step + 1) / (warmup + 1) if step < warmup else max(0.0, (steps - step) / (steps - warmup))

    return factor


def _pad(rows: Sequence[EncodedRow], device: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    longest = max(len(row.input_ids) for row in rows)
    input_ids = torch.zeros(len(rows), longest, dtype=torch.long)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    labels = torch.full((len(rows), longest), IGNORE)
    for i, row in enumerate(rows):
        length = len(row.input_ids)
        input_ids[i, :length] = torch.tensor(row.input_ids)
        labels[i, :length] = torch.tensor(row.labels)
        mask[i, :length] = 1
    return input_ids.to(device), mask.to(device), labels.to(device)
