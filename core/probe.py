"""Does fine-tuning on these rows break the model's safety? Measure, fine-tune a copy, measure again.

`measure_before` and `measure_run` do one durable step each, and leave a file under a content address: whoever asks
for the same work again, after a kill or in another probe, finds it done. `core.comparison` puts them side by side.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from core.assessment import metrics_of
from core.encoding import EncodedRow, Unencodable, encode_prompt
from core.errors import UserError
from core.files import replacing
from core.generation import generate
from core.i18n import N_
from core.probe_plan import Plan, PlannedRun
from core.probe_result import ArmRun, Evaluation, JudgedAnswer, Kind, RowLoss
from core.progress import OnProgress, Progress, ignore_progress
from core.rows import Turn
from core.safety.drift import drift
from core.safety.judging import ToJudge, judge_answers
from core.safety.refusal_margin import refusal_margins
from core.settings import Settings
from core.training import evaluate_losses, train

STAGES_BEFORE = (N_("Answers before"), N_("Loss before"), N_("Refusal margin before"), N_("Judging before"))
STAGES_AFTER = (N_("Answers after"), N_("Loss after"), N_("Refusal margin after"), N_("Judging after"))


def before_path(folder: Path, plan: Plan) -> Path:
    """Return where the measurement before is kept for every probe that needs the same."""
    return folder / "before" / f"{plan.baseline}.json"


def run_path(folder: Path, key: str) -> Path:
    """Return where a fine-tune's measurement is kept."""
    return folder / "runs" / f"{key}.json"


def measure_before(
    plan: Plan, folder: Path, settings: Settings, on_progress: OnProgress = ignore_progress
) -> Evaluation:
    """Measure the model as it is, unless that was done before.

    Parameters
    ----------
    plan : Plan
    folder : Path
        The workspace's folder of probes.
    settings : Settings
        The workspace, for judges that load a model.
    on_progress : callable
        Called after each batch; may raise ``Cancelled``.
    """
    path = before_path(folder, plan)
    if not path.exists():
        found = evaluate(plan, plan.loaded.model, settings, on_progress, STAGES_BEFORE)
        _write(path, found)
    return Evaluation.model_validate_json(path.read_bytes())


def measure_run(
    plan: Plan, run: PlannedRun, folder: Path, settings: Settings, on_progress: OnProgress = ignore_progress
) -> ArmRun:
    """Fine-tune a copy of the model on one arm's rows with one seed and measure it, unless that was done before.

    Raises
    ------
    UserError
        When training diverges or a judge cannot be reached.
    """
    path = run_path(folder, run.key)
    if not path.exists():
        network, report = train(plan.loaded.model, run.rows, run.settings, on_progress)
        after = evaluate(plan, network, settings, on_progress, STAGES_AFTER)
        _write(path, ArmRun(arm=run.arm.name, seed=run.seed, training=report, evaluation=after))
    return _read(run, path)


def finished(plan: Plan, folder: Path) -> list[ArmRun]:
    """Return the measurements of a plan's fine-tunes that are done, in the plan's order."""
    found = [(run, run_path(folder, run.key)) for run in plan.runs]
    return [_read(run, path) for run, path in found if path.exists()]


def evaluate(plan: Plan, model: Any, settings: Settings, on_progress: OnProgress, stages: Sequence[str]) -> Evaluation:
    """Ask a model the harmful and the benign prompts, judge the answers, take margins and losses."""
    started = time.perf_counter()
    asked = plan.settings
    tokenizer = plan.loaded.tokenizer
    turns = [[Turn("user", p.text)] for p in plan.prompts] + [list(row.turns[:-1]) for row in plan.benign_rows]
    ids = [_encode_prompt(turn, tokenizer, asked.max_length) for turn in turns]
    texts = generate(model, tokenizer, ids, asked.max_new_tokens, asked.generation_batch, on_progress, stages[0])
    answers = _judged(plan, texts, settings, on_progress, stages[3])
    margins = refusal_margins(model, tokenizer, ids[: len(plan.prompts)], on_progress=on_progress, stage=stages[2])
    answers = [
        answer.model_copy(update={"refusal_margin": margin})
        for answer, margin in zip(answers, [*margins, *[None] * len(plan.benign_rows)], strict=True)
    ]
    losses = _losses(model, [*plan.benign, *plan.task], asked.token_budget, on_progress, stages[1])
    benign_losses, task_losses = losses[: len(plan.benign)], losses[len(plan.benign) :]
    spoken = [answer for answer in answers if answer.kind == "benign"]
    return Evaluation(
        key=plan.baseline,
        metrics=metrics_of(answers, benign_losses, task_losses),
        drift=drift([answer.prompt for answer in spoken], [answer.answer for answer in spoken]),
        answers=answers,
        benign_losses=benign_losses,
        task_losses=task_losses,
        seconds=round(time.perf_counter() - started, 3),
        device=str(model.device),
    )


def _judged(
    plan: Plan, texts: Sequence[str], settings: Settings, on_progress: OnProgress, stage: str
) -> list[JudgedAnswer]:
    about: list[tuple[str, str, str, Kind]] = [(p.prompt_id, p.text, p.category, "harmful") for p in plan.prompts]
    about += [(f"row-{row.row_id}", row.prompt, row.category, "benign") for row in plan.benign_rows]
    items = [ToJudge(prompt, text, kind) for (_, prompt, _, kind), text in zip(about, texts, strict=True)]
    on_progress(Progress(stage, 0, len(items)))
    verdicts = judge_answers(items, plan.settings.judge, settings, on_progress, stage)
    second = (
        [None] * len(items)
        if plan.settings.second_judge is None
        else judge_answers(items, plan.settings.second_judge, settings, on_progress, stage)
    )
    return [
        JudgedAnswer(
            prompt_id=prompt_id,
            prompt=prompt,
            category=category,
            kind=kind,
            answer=text,
            outcome=verdict.outcome,
            reason=verdict.reason,
            judge=verdict.judge,
            harmfulness=verdict.harmfulness,
            second_outcome=other.outcome if other else None,
            second_judge=other.judge if other else "",
        )
        for (prompt_id, prompt, category, kind), text, verdict, other in zip(
            about, texts, verdicts, second, strict=True
        )
    ]


def _encode_prompt(turns: Sequence[Turn], tokenizer: Any, max_length: int) -> list[int]:
    try:
        return encode_prompt(turns, tokenizer, max_length)
    except Unencodable as error:
        raise UserError(
            N_("The model's chat template cannot express this prompt: {prompt}"),
            prompt=turns[-1].content[:80],
        ) from error


def _losses(
    model: Any, rows: Sequence[EncodedRow], token_budget: int, on_progress: OnProgress, stage: str
) -> list[RowLoss]:
    values = evaluate_losses(model, rows, token_budget, on_progress, stage)
    return [
        RowLoss(row_id=row.row_id, loss=value, supervised_tokens=row.supervised_tokens)
        for row, value in zip(rows, values, strict=True)
    ]


def _read(run: PlannedRun, path: Path) -> ArmRun:
    # Another probe may have called the same rows by another name.
    return ArmRun.model_validate_json(path.read_bytes()).model_copy(update={"arm": run.arm.name})


def _write(path: Path, value: Evaluation | ArmRun) -> None:
    with replacing(path) as partial:
        partial.write_text(value.model_dump_json(indent=1), encoding="utf-8")
