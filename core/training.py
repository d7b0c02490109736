"""A small fine-tune: LoRA or all parameters, on a copy of the model."""

import copy
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from core.encoding import IGNORE, EncodedRow
from core.errors import UserError
from core.i18n import N_
from core.precision import reduced_precision, uses_bfloat16
from core.probe_result import TrainReport
from core.probe_settings import TrainSettings
from core.progress import OnProgress, Progress, ignore_progress

LossesOf = Callable[[Any, Sequence[EncodedRow]], torch.Tensor]
OPTIMIZERS: dict[str, Any] = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}


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
    network, report = fine_tune(model, rows, settings, on_progress)
    if settings.method == "lora":
        network = network.merge_and_unload()
    network.eval().requires_grad_(False)
    return network, report


def row_losses(model: Any, rows: Sequence[EncodedRow]) -> torch.Tensor:
    """Mean cross-entropy of each row over its supervised tokens.

    Returns
    -------
    Tensor [rows]
        Nats per token, with gradient where the model has any.
    """
    logits, targets, row = supervised_logits(model, rows)
    return mean_by_row(cross_entropy(logits.float(), targets, reduction="none"), row, len(rows))


def supervised_logits(model: Any, rows: Sequence[EncodedRow]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits at the supervised positions of all rows, one after the other.

    Only these positions reach the output layer: a pre-hook picks them, and the model's own forward does the rest
    (biases, soft-capping, scaling included). No logits exist for prompt positions.

    Returns
    -------
    logits, targets, row : Tensor [tokens, vocabulary], Tensor [tokens], Tensor [tokens]
        ``row`` numbers the row of each token.
    """
    input_ids, mask, labels = _pad(rows, model.device)
    row, position = torch.nonzero(labels[:, 1:] != IGNORE, as_tuple=True)

    def keep_supervised(_: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0][row, position].unsqueeze(0), *args[1:])

    hook = model.get_output_embeddings().register_forward_pre_hook(keep_supervised)
    try:
        logits = model(input_ids=input_ids, attention_mask=mask, use_cache=False).logits[0]
    finally:
        hook.remove()
    return logits, labels[row, position + 1], row


def mean_by_row(values: torch.Tensor, row: torch.Tensor, rows: int) -> torch.Tensor:
    """Return each row's mean of its tokens' values."""
    sums = torch.zeros(rows, device=values.device).index_add(0, row, values)
    return sums / torch.bincount(row, minlength=rows)


def fine_tune(
    model: Any,
    rows: Sequence[EncodedRow],
    settings: TrainSettings,
    on_progress: OnProgress = ignore_progress,
    losses_of: LossesOf = row_losses,
) -> tuple[Any, TrainReport]:
    """Do the work of `train` with any loss of a row, and return the network with its adapters apart.

    Parameters
    ----------
    losses_of : callable
        From a network and rows to a Tensor [rows].
    """
    if not rows:
        raise UserError(N_("There are no rows to fine-tune on."))
    started = time.perf_counter()
    # Adapter starts and dropout draw from torch's global state: seed it here, give it back afterwards.
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        network = _trainable_copy(model, settings)
        loss_curve = optimise(network, rows, settings, on_progress, losses_of)
    trainable = sum(p.numel() for p in network.parameters() if p.requires_grad)
    seconds = time.perf_counter() - started
    tokens = sum(len(row.input_ids) for row in rows)
    report = TrainReport(
        rows=len(rows),
        row_ids=[row.row_id for row in rows],
        supervised_tokens=sum(row.supervised_tokens for row in rows),
        tokens=tokens,
        steps=len(loss_curve),
        trainable_parameters=trainable,
        precision="bfloat16" if uses_bfloat16(model.device, settings.precision) else "float32",
        loss_curve=loss_curve,
        seconds=round(seconds, 3),
        tokens_per_second=round(tokens * settings.epochs / seconds, 1),
    )
    return network, report


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

    config = LoraConfig(
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=_targets(network, settings.lora_targets),
        task_type="CAUSAL_LM",
    )
    return get_peft_model(network, config).train()


def _targets(network: Any, which: str) -> str | list[str]:
    # "all-linear" leaves the output layer out, and knows GPT-2's Conv1D.
    if which == "all-linear":
        return which
    names = [name for name, module in network.named_modules() if "attn" in name.lower() or "attention" in name.lower()]
    found = [name for name in names if type(network.get_submodule(name)).__name__ in ("Linear", "Conv1D")]
    if not found:
        raise UserError(N_("No attention module of this model is known; put adapters on all linear modules."))
    return found


def optimise(
    network: Any,
    rows: Sequence[EncodedRow],
    settings: TrainSettings,
    on_progress: OnProgress,
    losses_of: LossesOf,
) -> list[float]:
    """Train a network's trainable parameters in place and return each step's loss."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = OPTIMIZERS[settings.optimizer](groups, lr=settings.learning_rate)
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
                with reduced_precision(network, settings.precision):
                    loss = losses_of(network, [rows[i] for i in batch]).sum() / len(step)
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
