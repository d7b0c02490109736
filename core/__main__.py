"""The command line: `python -m core COMMAND`."""

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from core import desk_cli
from core.audit_cli import audit_command
from core.errors import UserError
from core.files import replacing
from core.i18n import N_
from core.runs import ScoreSettings
from core.settings import get_settings

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help="Assay on the command line."
)
app.command("audit")(audit_command)
app.command()(desk_cli.export)
app.command()(desk_cli.delete)
app.command()(desk_cli.user)

# Below this, measuring the speed would take as long as the job.
LONG_JOB_TOKENS = 5000

Data = Annotated[str, typer.Argument(help="File (JSONL, JSON, CSV, Parquet) or Hugging Face hub id.", metavar="DATA")]
Model = Annotated[str, typer.Option(help="bundled, a folder, or a hub id.")]
MaxLength = Annotated[int, typer.Option(min=8, help="Longest input, in tokens.")]
Truncate = Annotated[Literal["prompt", "tail"], typer.Option(help="What gives way when a row is too long.")]


@app.command()
def score(
    data: Data,
    out: Annotated[Path, typer.Option(help="Parquet file to write; rejected rows go to *.rejected.jsonl beside it.")],
    model: Model = "bundled",
    max_length: MaxLength = 512,
    truncate: Truncate = "prompt",
    length_unit: Annotated[
        Literal["tokens", "words"], typer.Option(help="Unit of the answer length in Self-Inf-N.")
    ] = "tokens",
    limit: Annotated[int | None, typer.Option(min=1, help="Score the first N usable rows only.")] = None,
    exact_loop: Annotated[
        bool, typer.Option("--exact-loop", help="Row by row with autograd: slower, for any architecture.")
    ] = False,
) -> None:
    """Score every usable row of a dataset: one output row each, in input order."""
    from core import models, scoring
    from core.console import terminal_progress
    from core.datasets import rejected_jsonl

    settings = get_settings()
    desk_cli.workspace_store("score")
    dataset = _read(data, limit)
    asked = ScoreSettings(
        model=model,
        max_length=max_length,
        truncate=truncate,
        length_unit=length_unit,
        exact_loop=exact_loop,
        token_budget=settings.token_budget,
        limit=limit,
    )
    loaded = models.load(model, settings)
    run, unscorable = scoring.prepare(dataset.rows, loaded, asked, _scores_folder(dataset))
    left = sum(run.tokens_in(chunk) for chunk in run.todo())
    if left > LONG_JOB_TOKENS:
        speed = scoring.calibrate(loaded, list(run.rows.values()), asked)
        _say(
            f"{len(run.rows)} rows, {run.tokens_total} tokens ({left} to do), about {_duration(left / speed)} "
            f"at {speed:.0f} tokens per second on this machine."
        )
    with terminal_progress() as progress:
        run.run(progress)
    table = run.merge()
    with replacing(out) as partial:
        table.to_parquet(partial, index=False)
    rejected = [*dataset.rejected, *unscorable]
    with replacing(out.with_suffix(".rejected.jsonl")) as partial:
        partial.write_text(rejected_jsonl(rejected), encoding="utf-8")
    _say(f"{len(table)} rows scored, {len(rejected)} rejected, with {loaded.name} ({loaded.template} chat template).")


@app.command()
def probe(
    data: Data,
    rows: Annotated[str, typer.Option(help="What to fine-tune on: a file with one row id a line, top:K or random:K.")],
    out: Annotated[Path, typer.Option(help="JSON file to write (schema: core/probe_result.py).")],
    scores: Annotated[Path | None, typer.Option(help="Scores for top:K; scored first when left out.")] = None,
    model: Model = "bundled",
    prompts: Annotated[
        str, typer.Option(help="Harmful prompts: do-not-answer, harmbench, all, or a CSV or JSONL file.")
    ] = "all",
    limit_prompts: Annotated[int | None, typer.Option(min=1, help="How many of them.")] = None,
    limit_benign: Annotated[int | None, typer.Option(min=0, help="How many held-out benign rows.")] = None,
    method: Annotated[Literal["lora", "full"], typer.Option(help="LoRA adapters, or all parameters.")] = "lora",
    epochs: Annotated[int | None, typer.Option(min=1)] = None,
    lr: Annotated[float | None, typer.Option(min=1e-12, max=1, help="Peak learning rate.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    max_length: Annotated[int | None, typer.Option(min=8, help="Longest input, in tokens.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer, in tokens.")] = None,
) -> None:
    """Fine-tune on chosen rows and compare safety and utility before and after."""
    from core import models
    from core import probe as probes
    from core.console import terminal_progress
    from core.datasets import holdout_ids
    from core.probe_settings import ProbeSettings
    from core.selection import select_rows

    given: dict[str, Any] = {
        "model": model,
        "method": method,
        "seed": seed,
        "prompt_source": prompts,
        "learning_rate": lr,
        "epochs": epochs,
        "limit_prompts": limit_prompts,
        "limit_benign": limit_benign,
        "max_length": max_length,
        "max_new_tokens": max_new_tokens,
    }
    asked = ProbeSettings(**{name: value for name, value in given.items() if value is not None})
    desk_cli.workspace_store("probe")
    dataset = _read(data, None)
    loaded = models.load(model, get_settings())
    holdout = holdout_ids(dataset.rows)
    with terminal_progress() as progress:
        ranking = _ranking(dataset, loaded, asked, scores, progress) if rows.lower().startswith("top:") else None
        selection = select_rows(rows, [row.row_id for row in dataset.rows], holdout, ranking, seed)
        chosen = [row for row in dataset.rows if row.row_id in set(selection.row_ids)]
        harmful, rejected = probes.load_prompts(asked)
        benign = probes.choose_benign([row for row in dataset.rows if row.row_id in holdout], asked)
        before = probes.run_before(loaded, asked, harmful, benign, progress)
        run = probes.run_after(loaded, asked, chosen, harmful, benign, progress, arm=selection.spec)
    result = probes.compare(loaded, asked, before, run, dataset.fingerprint, len(selection.held_out), rejected)
    with replacing(out) as partial:
        partial.write_text(result.model_dump_json(indent=1), encoding="utf-8")
    for name in ("harmful_compliance", "refused", "degenerate", "over_refusal", "benign_loss"):
        _say(f"{name:20} {_interval(getattr(result.before, name))}  ->  {_interval(getattr(result.after, name))}")
    _say(result.note)


@app.command()
def worker(
    parent_pid: Annotated[
        int | None, typer.Option(help="End when this process is gone and no job is running.", hidden=True)
    ] = None,
) -> None:
    """Run background jobs until stopped."""
    from core.worker import run

    run(get_settings(), parent_pid)


@app.command()
def bench(
    data: Annotated[str | None, typer.Argument(help="File of rows; the sample dataset when left out.")] = None,
    model: Model = "bundled",
    max_length: MaxLength = 512,
    limit: Annotated[int, typer.Option(min=1, help="Rows to measure on.")] = 40,
    token_budget: Annotated[int, typer.Option(min=1, help="Padded tokens in one batch.")] = 1024,
) -> None:
    """Time the gradient engine against row-by-row autograd and the matmul limit; prints JSON."""
    from core import models
    from core.bench import bench_engine
    from core.encoding import encode_rows
    from core.sample import SAMPLE_PATH

    rows = _read(data or str(SAMPLE_PATH), limit).rows
    loaded = models.load(model)
    encoded, _ = encode_rows(rows, loaded.tokenizer, max_length)
    typer.echo(json.dumps(bench_engine(loaded, encoded, token_budget), indent=1))


@app.command(hidden=True)
def ship_sample(model: Model = "bundled") -> None:
    """Score the sample dataset and store the result in the assets, for whoever changes the sample or the model."""
    from core import sample

    _say(f"Written: {sample.ship_sample(model)}")


def _read(data: str, limit: int | None) -> Any:
    from core.datasets import detect_mapping, read_dataset, read_hub, to_dataset

    if Path(data).exists() or Path(data).suffix.lower() in {".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet"}:
        return read_dataset(Path(data), limit=limit)
    records = read_hub(data, limit=limit)
    return to_dataset(records, detect_mapping(records), data, limit, "hub")


def _ranking(dataset: Any, loaded: Any, asked: Any, scores: Path | None, progress: Any) -> dict[int, float]:
    """Self-Inf-N by row id, from a scores file or from a scoring run under the probe's own model."""
    import pandas as pd

    from core import scoring

    if scores is None:
        settings = ScoreSettings(model=asked.model, truncate=asked.truncate)
        run, _ = scoring.prepare(dataset.rows, loaded, settings, _scores_folder(dataset))
        run.run(progress)
        table = run.merge()
    else:
        try:
            table = pd.read_parquet(scores, columns=["row_id", "self_inf_n"])
        except (OSError, ValueError) as error:
            raise UserError(
                N_("{path} is not a scores file (Parquet with row_id and self_inf_n): {cause}"),
                path=str(scores),
                cause=str(error),
            ) from error
    return dict(zip(table["row_id"].tolist(), table["self_inf_n"].tolist(), strict=True))


def _interval(estimate: Any) -> str:
    if estimate.value is None:
        return "n/a (n=0)"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}] (n={estimate.n})"


def _scores_folder(dataset: Any) -> Path:
    # The folder that the app uses too: what one has scored the other finds.
    return get_settings().workspace / "datasets" / str(dataset.fingerprint) / "scores"


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def main() -> None:
    """Run the command line: user errors are one line on stderr and exit code 2."""
    # Progress bars of the libraries would drown our own lines.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from transformers.utils import logging

    logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
    try:
        app()
    except UserError as error:
        _say("Error: " + " ".join(str(error).split()))
        sys.exit(2)


if __name__ == "__main__":
    main()
