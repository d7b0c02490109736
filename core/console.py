"""Progress on a terminal, for the command line."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from core.progress import OnProgress, ignore_progress
from core.progress import Progress as Point


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
