"""``python -m core probe``: before and after, arm by arm; a killed run goes on where it was."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from core.arms import TOP, parse_arm
from core.console import say, terminal_progress
from core.errors import UserError
from core.files import replacing
from core.i18n import N_
from core.settings import get_settings

METRICS = ("harmful_compliance", "refused", "degenerate", "over_refusal", "benign_loss", "task_loss", "refusal_margin")


def probe(
    data: Annotated[
        str | None, typer.Argument(help="File (JSONL, JSON, CSV, Parquet) or Hugging Face hub id.", metavar="DATA")
    ] = None,
    out: Annotated[Path, typer.Option(help="JSON file to write (schema: core/probe_result.py).")] = Path("probe.json"),
    arms: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated: flagged, as-is, cleaned, length-matched[:ARM], mitigated[:SHARE], top:[SCORE:]K, "
            "bottom:[SCORE:]K, random:K, task:FILE, or a file of row ids; each with @lr=, @epochs=, @k= of its own."
        ),
    ] = None,
    rows: Annotated[str | None, typer.Option(help="One arm alone: short for --arms.")] = None,
    flagged: Annotated[
        str | None, typer.Option(help="Rows marked for exclusion: a file of row ids, or top:[SCORE:]K.")
    ] = None,
    scores: Annotated[Path | None, typer.Option(help="Scores for arms by score; scored first when left out.")] = None,
    dose: Annotated[
        str | None, typer.Option(help="Every arm at several doses: k=25,50,100, lr=1e-4,1e-3 or epochs=1,3.")
    ] = None,
    rows_per_arm: Annotated[int | None, typer.Option(min=1, help="Most rows that an arm trains on.")] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, max=10, help="Fine-tunes per arm (2 on a CPU, 5 on a GPU).")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The first seed.")] = None,
    preset: Annotated[
        Literal["quick", "default", "paper"], typer.Option(help="A recipe; options go before it.")
    ] = "default",
    model: Annotated[str | None, typer.Option(help="bundled, bundled-base, a folder, or a hub id.")] = None,
    target_model: Annotated[
        str | None, typer.Option(help="The model to be fine-tuned for real, if it is another: a demonstration then.")
    ] = None,
    prompts: Annotated[
        str | None, typer.Option(help="held-out, do-not-answer, harmbench, all, or a CSV or JSONL file.")
    ] = None,
    limit_prompts: Annotated[int | None, typer.Option(min=1, help="How many harmful prompts.")] = None,
    limit_benign: Annotated[int | None, typer.Option(min=0, help="How many held-out benign rows.")] = None,
    task: Annotated[Path | None, typer.Option(help="Held-out rows of your own task: their loss is measured.")] = None,
    safety: Annotated[Path | None, typer.Option(help="Rows that the arm mitigated mixes in.")] = None,
    judge: Annotated[
        str | None, typer.Option(help="phrases, classifier:MODEL, rubric:MODEL@ADDRESS, or a JSON file of settings.")
    ] = None,
    second_judge: Annotated[str | None, typer.Option(help="Reads the same answers; agreement is reported.")] = None,
    policy: Annotated[Path | None, typer.Option(help="Stop criteria (JSON); the default ones when left out.")] = None,
    method: Annotated[Literal["lora", "full"] | None, typer.Option(help="LoRA adapters, or all parameters.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1)] = None,
    lr: Annotated[float | None, typer.Option(min=1e-12, max=1, help="Peak learning rate.")] = None,
    max_length: Annotated[int | None, typer.Option(min=8, help="Longest input, in tokens.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer, in tokens.")] = None,
    again: Annotated[
        Path | None, typer.Option("--from", help="A probe.json whose settings, rows and model are used again.")
    ] = None,
) -> None:
    """Fine-tune on chosen rows and on fair controls, and compare safety and utility before and after."""
    from core import desk_cli, models
    from core import probe as probes
    from core.command_input import read_data, scores_folder
    from core.comparison import compare
    from core.datasets import holdout_ids
    from core.policy import DEFAULT_POLICY, read_policy
    from core.probe_plan import plan_probe, waves
    from core.users import PROBE

    given = {
        "learning_rate": lr,
        "rows": rows_per_arm,
        "prompt_source": prompts,
        "task_file": str(task) if task else None,
        "safety_file": str(safety) if safety else None,
        "arms": rows or arms,
    }
    same = ("seeds", "seed", "model", "target_model", "limit_prompts", "limit_benign", "method", "epochs", "max_length")
    given |= {name: value for name, value in locals().items() if name in (*same, "max_new_tokens")}
    asked = _settings(given, preset, judge, second_judge, dose, again)
    settings = get_settings()
    data = data or (str(_read_result(again)["data"]) if again else "")
    if not data:
        raise UserError(N_("Name the dataset: a file or a hub id."))
    dataset = read_data(data)
    holdout = holdout_ids(dataset.rows)
    loaded = models.load(asked.model, settings)
    desk_cli.workspace_store(PROBE)
    folder = scores_folder(dataset).parent / "probes"
    criteria = read_policy(policy) if policy else DEFAULT_POLICY
    with terminal_progress() as progress:
        table, marked = _rankings(dataset, loaded, asked, scores, flagged, holdout, progress)
        if again and not flagged:
            marked = _flagged_of(again)
        plan = plan_probe(loaded, asked, dataset.rows, holdout, marked, table)
        before = probes.measure_before(plan, folder, settings, progress)
        decided: Sequence[str] = []
        for wave in waves(plan):
            for run in wave:
                if run.arm.base not in decided:
                    probes.measure_run(plan, run, folder, settings, progress)
                    say(f"{run.arm.name}, seed {run.seed}: done")
            from core.comparison import decided as decide

            decided = decide(plan, before, probes.finished(plan, folder), criteria)
    result = compare(plan, before, probes.finished(plan, folder), str(dataset.fingerprint), data, criteria)
    with replacing(out) as partial:
        partial.write_text(result.model_dump_json(indent=1), encoding="utf-8")
    for metric in METRICS:
        say(f"{metric:20} before {_interval(getattr(result.before, metric))}")
        for name, arm in result.arms.items():
            if metric in arm.difference:
                say(f"  {name:30} {_interval(arm.pooled[metric])}  change {_interval(arm.difference[metric])}")
    if result.cause:
        say(result.cause.text)
    say(f"{result.verdict.outcome}: {result.verdict.sentence}")
    say(result.note)


def _settings(
    given: dict[str, Any],
    preset_name: str,
    judge: str | None,
    second_judge: str | None,
    dose: str | None,
    again: Path | None,
) -> Any:
    from pydantic import ValidationError

    from core.arms import expand_dose, parse_arms
    from core.probe_settings import ProbeSettings, preset
    from core.safety.judge_settings import parse_judge

    values = preset(preset_name)
    if again is not None:
        values = _read_result(again)["settings"]
    values |= {name: value for name, value in given.items() if value is not None}
    for name, text in (("judge", judge), ("second_judge", second_judge)):
        if text is not None:
            values[name] = parse_judge(text)
    if isinstance(values.get("arms"), str):
        values["arms"] = tuple(arm.name for arm in parse_arms(values["arms"]))
    if dose is not None:
        named = parse_arms(values.get("arms", ProbeSettings().arms))
        values["arms"] = tuple(arm.name for arm in expand_dose(named, dose))
    if given.get("method") and not given.get("learning_rate"):
        values.pop("learning_rate", None)
    try:
        return ProbeSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(N_("{name}: {cause}"), name=".".join(map(str, first["loc"])), cause=first["msg"]) from error


def _rankings(
    dataset: Any, loaded: Any, asked: Any, scores: Path | None, flagged: str | None, holdout: set[int], progress: Any
) -> tuple[Any, list[int]]:
    """Return the scores that arms need, and the flagged rows."""
    from core import scoring
    from core.arms import BOTTOM
    from core.command_input import read_scores, scores_folder
    from core.runs import ScoreSettings
    from core.scores import top_k
    from core.selection import read_ids

    marks = parse_arm(flagged) if flagged else None
    kinds = {parse_arm(name).kind for name in asked.arms} | ({marks.kind} if marks else set())
    table = read_scores(scores) if scores else None
    if table is None and kinds & {TOP, BOTTOM}:
        run, _ = scoring.prepare(
            dataset.rows,
            loaded,
            ScoreSettings(model=asked.model, truncate=asked.truncate),
            scores_folder(dataset),
        )
        run.run(progress)
        table = run.merge()
    if marks is None:
        return table, []
    if marks.kind == TOP:
        return table, top_k(table, marks.score, int(marks.k or 0), exclude=sorted(holdout))
    return table, read_ids(Path(marks.path or str(flagged)))


def _read_result(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {name: found[name] for name in ("settings", "flagged", "data")}
    except (OSError, ValueError, KeyError) as error:
        raise UserError(N_("{path} is not the result of a probe: {cause}"), path=str(path), cause=str(error)) from error


def _flagged_of(path: Path) -> list[int]:
    return [int(row_id) for row_id in _read_result(path)["flagged"]]


def _interval(found: Any) -> str:
    if found.value is None:
        return f"n/a (n={found.n})"
    if found.low is None:
        return f"{found.value:.3f} (n={found.n})"
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}] (n={found.n})"
