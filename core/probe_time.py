"""How long a probe takes on this machine, measured before it starts."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from core.encoding import EncodedRow, encode_prompt
from core.generation import generate
from core.probe import before_path, run_path
from core.probe_plan import Plan
from core.rows import Turn
from core.safety.refusal_margin import refusal_margins
from core.training import evaluate_losses, train

# What is tried out: enough for a stable speed, few enough for people to wait for.
ROWS, PROMPTS = 8, 16


class Speed(BaseModel):
    """Measured speeds of one model with one recipe on this machine."""

    model_config = ConfigDict(frozen=True)

    train_tokens: float = Field(description="tokens per second of training")
    answer_seconds: float = Field(description="per prompt, at the longest answer that is allowed")
    margin_seconds: float = Field(description="per harmful prompt")
    loss_tokens: float = Field(description="tokens per second of losses")


class Expected(BaseModel):
    """What a probe would take, finished parts left out."""

    model_config = ConfigDict(frozen=True)

    seconds: float
    runs: int = Field(description="fine-tunes to do")
    runs_done: int
    rows: int = Field(description="rows per arm")
    prompts: int
    benign: int
    speed: Speed


def measure_speed(plan: Plan) -> Speed:
    """Train on a few rows and answer a few prompts, and time it (some ten seconds on a small model)."""
    loaded, asked = plan.loaded, plan.settings
    run = plan.runs[0]
    few = run.rows[:ROWS]
    settings = run.settings.model_copy(update={"epochs": 1, "batch_rows": len(few)})
    # The first step builds what later ones find built.
    train(loaded.model, few[:1], settings)
    _, report = train(loaded.model, few, settings)
    prompts = [
        encode_prompt([Turn("user", p.text)], loaded.tokenizer, asked.max_length) for p in plan.prompts[:PROMPTS]
    ]
    answering = _seconds(
        lambda: generate(loaded.model, loaded.tokenizer, prompts, asked.max_new_tokens, asked.generation_batch)
    )
    margin = _seconds(lambda: refusal_margins(loaded.model, loaded.tokenizer, prompts[:2]))
    losing = _seconds(lambda: evaluate_losses(loaded.model, few, asked.token_budget))
    return Speed(
        train_tokens=report.tokens / report.seconds,
        answer_seconds=answering / max(1, len(prompts)),
        margin_seconds=margin / max(1, len(prompts[:2])),
        loss_tokens=report.tokens / losing,
    )


def expected(plan: Plan, speed: Speed, folder: Path) -> Expected:
    """Return how long the parts of a probe take that are not done yet."""
    asked = len(plan.prompts) + len(plan.benign)
    held = sum(len(row.input_ids) for row in (*plan.benign, *plan.task))
    evaluation = (
        asked * speed.answer_seconds + len(plan.prompts) * speed.margin_seconds + held / max(1e-9, speed.loss_tokens)
    )
    todo = [run for run in plan.runs if not run_path(folder, run.key).exists()]
    training = sum(_tokens(run.rows) * run.settings.epochs for run in todo) / speed.train_tokens
    before = 0.0 if before_path(folder, plan).exists() else evaluation
    return Expected(
        seconds=before + training + len(todo) * evaluation,
        runs=len(todo),
        runs_done=len(plan.runs) - len(todo),
        rows=plan.size,
        prompts=len(plan.prompts),
        benign=len(plan.benign),
        speed=speed,
    )


def _tokens(rows: Sequence[EncodedRow]) -> int:
    return sum(len(row.input_ids) for row in rows)


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
