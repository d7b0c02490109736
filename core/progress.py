"""How long work reports where it is, and how it is told to stop."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """A point in a long computation.

    Parameters
    ----------
    stage : str
        What is being done, as a short English message id.
    done, total : int
        Units (rows, prompts, steps) finished and to do in this stage.
    tokens_done, tokens_total : int
        The same in tokens, 0 where tokens mean nothing.
    """

    stage: str
    done: int
    total: int
    tokens_done: int = 0
    tokens_total: int = 0


class Cancelled(Exception):
    """Raised by a progress callback when somebody asked for the work to stop."""


OnProgress = Callable[[Progress], None]


def ignore_progress(_: Progress) -> None:
    """Take no notice (the default callback)."""
