"""What the command line writes on a terminal: lines, durations, progress. Results go to files or stdout."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from core.progress import OnProgress, ignore_progress
from core.progress import Progress as Point


def say(text: str) -> None:
    """Write a line to stderr."""
    typer.echo(text, err=True)


def duration(seconds: float) -> str:
    """Write a duration in seconds or minutes."""
    return f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"


@contextmanager
def terminal_progress() -> Iterator[OnProgress]:
    """Yield a callback that draws one bar a stage on stderr (nothing where stderr is not a terminal)."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield ignore_progress
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        tasks = {}

        def show(point: Point) -> None:
            if point.stage not in tasks:
                tasks[point.stage] = bars.add_task(point.stage, total=point.total)
            # Tokens, where known, foretell the time better than rows: rows come shortest first.
            done, total = (point.tokens_done, point.tokens_total) if point.tokens_total else (point.done, point.total)
            bars.update(tasks[point.stage], completed=done, total=total)

        yield show
