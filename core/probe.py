"""Does fine-tuning on these rows break the model's safety? Measure, fine-tune a copy, measure again, compare.

`run_before` and `run_after` are separate, each gives plain JSON-able values, and a durable job can keep the
first for every later probe with the same `baseline_key`.
"""

import hashlib
import importlib.metadata
import platform
import time
from collections.abc import Sequence
from typing import Any

from core.encoding import EncodedRow, Unencodable, encode_prompt, encode_rows
from core.errors import UserError
from core.generation import generate
from core.i18n import N_
from core.models import LoadedModel
from core.probe_result import (
    Answer,
    AnswerPair,
    ArmRun,
    BenignLoss,
    Evaluation,
    JudgedAnswer,
    Kind,
    LeftOut,
    Note,
    ProbeResult,
    TrainReport,
)
from core.probe_settings import ProbeSettings
from core.progress import OnProgress, ignore_progress
from core.rows import RejectedRow, Row, Turn
from core.safety import prompts as safety_prompts
from core.safety.judges import PHRASE_JUDGE, judge
from core.safety.metrics import Judged, summarise
from core.safety.prompts import Prompt
from core.training import evaluate_losses, train

FEW_BENIGN = 5  # fewer held-out prompts than this say next to nothing
PACKAGES = ("torch", "transformers", "peft", "tokenizers", "garak")


def load_prompts(settings: ProbeSettings) -> tuple[list[Prompt], list[RejectedRow]]:
    """Load the harmful prompts that the settings ask for; the draw is the same for every seed."""
    found, rejected = safety_prompts.load(settings.prompt_source)
    return safety_prompts.subset(found, settings.limit_prompts), rejected


def choose_benign(holdout_rows: Sequence[Row], settings: ProbeSettings) -> list[Row]:
    """Choose the held-out rows to measure on, by content, so that the choice never changes."""
    ordered = sorted(holdout_rows, key=lambda row: (row.row_hash, row.row_id))
    return sorted(ordered[: settings.limit_benign], key=lambda row: row.row_id)


def baseline_key(model_id: str, settings: ProbeSettings, prompts: Sequence[Prompt], benign_rows: Sequence[Row]) -> str:
    """Hash everything that decides what is measured before the fine-tune (16 hex digits)."""
    parts = [model_id, settings.test_key(), safety_prompts.set_hash(prompts), PHRASE_JUDGE]
    parts += [f"{row.row_id} {row.row_hash}" for row in benign_rows]
    # Another release may round differently, and greedy answers then part ways.
    parts += [f"{name} {_version(name)}" for name in ("torch", "transformers")]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def run_before(
    loaded: LoadedModel,
    settings: ProbeSettings,
    prompts: Sequence[Prompt],
    benign_rows: Sequence[Row],
    on_progress: OnProgress = ignore_progress,
) -> Evaluation:
    """Ask the model the harmful and the benign prompts, judge the answers, take the benign loss.

    Parameters
    ----------
    loaded : LoadedModel
        Base model.
    settings : ProbeSettings
        Lengths and batch sizes count here, the recipe does not.
    prompts : sequence of Prompt
        Harmful prompts, as `load_prompts` gives them.
    benign_rows : sequence of Row
        Held-out rows, as `choose_benign` gives them. There may be none; their metrics then have no value.
    on_progress : callable
        Called after each batch; may raise ``Cancelled``.
    """
    key = baseline_key(loaded.model_id, settings, prompts, benign_rows)
    stages = (N_("Answers before"), N_("Benign loss before"))
    return _evaluate(loaded.model, loaded.tokenizer, key, settings, prompts, benign_rows, on_progress, stages)


def run_after(
    loaded: LoadedModel,
    settings: ProbeSettings,
    rows: Sequence[Row],
    prompts: Sequence[Prompt],
    benign_rows: Sequence[Row],
    on_progress: OnProgress = ignore_progress,
    arm: str = "flagged",
) -> ArmRun:
    """Fine-tune a copy of the model on ``rows`` and measure it exactly as `run_before` does.

    Parameters
    ----------
    rows : sequence of Row
        Rows to train on, none of them held out. Their order does not matter.
    arm : str
        What the rows are.

    Raises
    ------
    UserError
        When a row is held out, none can be encoded, or training diverges.
    """
    held_out = {row.row_hash for row in benign_rows}
    if clash := [row.row_id for row in rows if row.row_hash in held_out]:
        raise UserError(N_("Row {row_id} is held out for measuring and cannot be trained on."), row_id=clash[0])
    encoded, left_out = encode_rows(
        sorted(rows, key=lambda row: row.row_id), loaded.tokenizer, settings.max_length, settings.truncate
    )
    network, report = train(loaded.model, encoded, settings, on_progress)
    report = report.model_copy(update={"left_out": [LeftOut(row_id=r.row_id, reason=r.reason) for r in left_out]})
    key = baseline_key(loaded.model_id, settings, prompts, benign_rows)
    stages = (N_("Answers after"), N_("Benign loss after"))
    after = _evaluate(network, loaded.tokenizer, key, settings, prompts, benign_rows, on_progress, stages)
    return ArmRun(arm=arm, seed=settings.seed, training=report, evaluation=after)


def compare(
    loaded: LoadedModel,
    settings: ProbeSettings,
    before: Evaluation,
    run: ArmRun,
    dataset: str = "",
    held_out: int = 0,
    rejected_prompts: Sequence[RejectedRow] = (),
) -> ProbeResult:
    """Put before and after side by side.

    Parameters
    ----------
    dataset : str
        Its fingerprint.
    held_out : int
        Rows that were asked for and left out because they are held out.
    rejected_prompts : sequence of RejectedRow
        Records of the prompt file that are not used, as `load_prompts` gives them.

    Raises
    ------
    ValueError
        When the two were not the same test of the same base model.
    """
    after = run.evaluation
    if before.key != after.key:
        raise ValueError(f"before ({before.key}) and after ({after.key}) are different tests")
    later = {answer.prompt_id: answer for answer in after.answers}
    notes = _notes(before, run.training, held_out, len(rejected_prompts))
    return ProbeResult(
        model_id=loaded.model_id,
        model_name=loaded.name,
        template=loaded.template,
        dataset=dataset,
        arm=run.arm,
        seed=run.seed,
        settings=settings.model_dump(mode="json"),
        before=before.metrics,
        after=after.metrics,
        answers=[_pair(answer, later[answer.prompt_id]) for answer in before.answers],
        train=run.training,
        timings={"before": before.seconds, "training": run.training.seconds, "after": after.seconds},
        versions={"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        rejected_prompts=[LeftOut(row_id=r.row_id, line=r.line, reason=r.reason) for r in rejected_prompts],
        notes=notes,
        note=" ".join(note.text for note in notes),
    )


def _evaluate(
    model: Any,
    tokenizer: Any,
    key: str,
    settings: ProbeSettings,
    prompts: Sequence[Prompt],
    benign_rows: Sequence[Row],
    on_progress: OnProgress,
    stages: tuple[str, str],
) -> Evaluation:
    started = time.perf_counter()
    encoded, _ = encode_rows(benign_rows, tokenizer, settings.max_length, settings.truncate)
    usable = {row.row_id for row in encoded}
    benign_rows = [row for row in benign_rows if row.row_id in usable]
    asked: list[tuple[str, str, str, Kind]] = [(p.prompt_id, p.text, p.category, "harmful") for p in prompts]
    asked += [(f"row-{row.row_id}", row.prompt, row.category, "benign") for row in benign_rows]
    turns = [[Turn("user", p.text)] for p in prompts] + [list(row.turns[:-1]) for row in benign_rows]
    ids = [_encode_prompt(turn, tokenizer, settings.max_length) for turn in turns]
    texts = generate(model, tokenizer, ids, settings.max_new_tokens, settings.generation_batch, on_progress, stages[0])
    answers = [_judged(*about, text) for about, text in zip(asked, texts, strict=True)]
    losses = _losses(model, encoded, settings, on_progress, stages[1])
    return Evaluation(
        key=key,
        metrics=summarise(
            [Judged(a.category, a.outcome) for a in answers if a.kind == "harmful"],
            [Judged(a.category, a.outcome) for a in answers if a.kind == "benign"],
            [item.loss for item in losses],
        ),
        answers=answers,
        benign_losses=losses,
        seconds=round(time.perf_counter() - started, 3),
    )


def _encode_prompt(turns: Sequence[Turn], tokenizer: Any, max_length: int) -> list[int]:
    try:
        return encode_prompt(turns, tokenizer, max_length)
    except Unencodable as error:
        raise UserError(
            N_("The model's chat template cannot express this prompt: {prompt}"),
            prompt=turns[-1].content[:80],
        ) from error


def _judged(prompt_id: str, prompt: str, category: str, kind: Kind, text: str) -> JudgedAnswer:
    verdict = judge(text, short_answer_ok=kind == "benign")
    return JudgedAnswer(
        prompt_id=prompt_id,
        prompt=prompt,
        category=category,
        kind=kind,
        answer=text,
        outcome=verdict.outcome,
        reason=verdict.reason,
        judge=verdict.judge,
    )


def _losses(
    model: Any, rows: Sequence[EncodedRow], settings: ProbeSettings, on_progress: OnProgress, stage: str
) -> list[BenignLoss]:
    values = evaluate_losses(model, rows, settings.token_budget, on_progress, stage)
    return [
        BenignLoss(row_id=row.row_id, loss=value, supervised_tokens=row.supervised_tokens)
        for row, value in zip(rows, values, strict=True)
    ]


def _pair(before: JudgedAnswer, after: JudgedAnswer) -> AnswerPair:
    prompt = before.model_dump(include={"prompt_id", "prompt", "category", "kind"})
    fields = set(Answer.model_fields)
    return AnswerPair(
        **prompt,
        before=Answer(**before.model_dump(include=fields)),
        after=Answer(**after.model_dump(include=fields)),
    )


def _notes(before: Evaluation, training: TrainReport, held_out: int, rejected_prompts: int) -> list[Note]:
    """Say in plain words what this probe can and cannot show."""
    refused, benign = before.metrics.refused, before.metrics.over_refusal.n
    notes = [
        Note(
            template=N_(
                "{n} harmful and {benign} benign prompts, {rows} training rows, one seed: "
                "the intervals cover the choice of prompts, not what another seed would give."
            ),
            params={"n": refused.n, "benign": benign, "rows": training.rows},
        ),
        Note(
            template=N_(
                "There is no control arm yet: the change shows what this fine-tune does, "
                "not that these rows are worse than others."
            )
        ),
        Note(template=N_("Refusals are recognised by their wording; read the answers before you rely on a figure.")),
    ]
    if refused.high is not None and refused.high < 0.5:
        template = N_("The model refused only {k} of {n} harmful prompts before: it has little safety to lose.")
        notes.append(Note(template=template, params={"k": refused.k, "n": refused.n}))
    if benign < FEW_BENIGN:
        template = N_("There are too few held-out rows: utility and over-refusal are not measured well.")
        notes.append(Note(template=template))
    if held_out:
        template = N_("Chosen rows that are held out for measuring and were not trained on: {count}.")
        notes.append(Note(template=template, params={"count": held_out}))
    if training.left_out:
        template = N_("Chosen rows that could not be encoded for this model and were not trained on: {count}.")
        notes.append(Note(template=template, params={"count": len(training.left_out)}))
    if rejected_prompts:
        template = N_("Records of the prompt file that could not be used: {count}.")
        notes.append(Note(template=template, params={"count": rejected_prompts}))
    return notes


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
