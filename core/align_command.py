"""``python -m core align``: make the adapter of the bundled model again, from the files in the assets."""

from pathlib import Path
from typing import Annotated

import typer

from core.console import duration, say, terminal_progress


def align(
    out: Annotated[Path, typer.Option(help="Folder to write the adapter to.")],
    epochs: Annotated[int | None, typer.Option(min=1)] = None,
    lr: Annotated[float | None, typer.Option(min=1e-12, max=1, help="Peak learning rate.")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Ask only the first N prompts of each set.")] = None,
    fresh_answers: Annotated[
        bool, typer.Option("--fresh-answers", help="Have the base model answer the benign requests anew.")
    ] = False,
    benign: Annotated[
        list[Path] | None, typer.Option(help="Benign rows to measure on besides the sample; may be repeated.")
    ] = None,
    measure: Annotated[bool, typer.Option(help="Measure the aligned model on prompts that it never saw.")] = True,
) -> None:
    """Train the adapter that makes the bundled model refuse, and measure it."""
    import json

    from core import align as aligning
    from core import models
    from core.alignment_figures import measure_alignment
    from core.datasets import read_dataset

    given = {"epochs": epochs, "learning_rate": lr, "seed": seed}
    recipe = aligning.RECIPE.model_copy(update={name: value for name, value in given.items() if value is not None})
    base = models.load(models.BUNDLED_BASE)
    with terminal_progress() as progress:
        if fresh_answers:
            aligning.write_answers(aligning.answer_benign(base, recipe.seed, progress))
        report = aligning.align(base, out, recipe, progress)
        say(f"{report.rows} rows, {report.steps} steps, {duration(report.seconds)}: {out}")
        if measure:
            rows = {path.stem: read_dataset(path).rows for path in benign or []}
            figures = measure_alignment(base, out, recipe, progress, rows, limit)
            (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
            typer.echo(json.dumps(figures, indent=1))
