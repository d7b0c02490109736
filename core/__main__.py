"""The command line: `python -m core COMMAND`."""

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Literal

import typer

from core import align_command, desk_cli, probe_command
from core.audit_cli import audit_command
from core.console import duration, say, terminal_progress
from core.errors import UserError
from core.files import replacing
from core.runs import ScoreSettings
from core.settings import get_settings
from core.users import SCORE

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help="Assay on the command line."
)
app.command("audit")(audit_command)
app.command()(desk_cli.export)
app.command()(desk_cli.delete)
app.command()(desk_cli.user)

app.command()(probe_command.probe)
app.command()(align_command.align)

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
    from core.command_input import read_data, scores_folder
    from core.datasets import rejected_jsonl

    settings = get_settings()
    desk_cli.workspace_store(SCORE)
    dataset = read_data(data, limit)
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
    run, unscorable = scoring.prepare(dataset.rows, loaded, asked, scores_folder(dataset))
    left = sum(run.tokens_in(chunk) for chunk in run.todo())
    if left > LONG_JOB_TOKENS:
        speed = scoring.calibrate(loaded, list(run.rows.values()), asked)
        say(
            f"{len(run.rows)} rows, {run.tokens_total} tokens ({left} to do), about {duration(left / speed)} "
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
    say(f"{len(table)} rows scored, {len(rejected)} rejected, with {loaded.name} ({loaded.template} chat template).")


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
    from core.command_input import read_data
    from core.encoding import encode_rows
    from core.sample import SAMPLE_PATH

    rows = read_data(data or str(SAMPLE_PATH), limit).rows
    loaded = models.load(model)
    encoded, _ = encode_rows(rows, loaded.tokenizer, max_length)
    typer.echo(json.dumps(bench_engine(loaded, encoded, token_budget), indent=1))


@app.command(hidden=True)
def ship_sample(model: Model = "bundled") -> None:
    """Score the sample dataset and store the result in the assets, for whoever changes the sample or the model."""
    from core import sample

    say(f"Written: {sample.ship_sample(model)}")


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
        say("Error: " + " ".join(str(error).split()))
        sys.exit(2)


if __name__ == "__main__":
    main()
