"""Which rows a probe trains on: ``ids.txt``, ``top:K`` or ``random:K``, and never a held-out one."""

import math
import random
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from core.errors import UserError
from core.i18n import N_

_SPEC = re.compile(r"(top|random):(.*)", re.IGNORECASE)


@dataclass(frozen=True)
class Selection:
    """Rows to train on.

    Parameters
    ----------
    spec : str
        How they were asked for.
    row_ids : tuple of int
        In ascending order, each once.
    held_out : tuple of int
        Rows that were asked for by id but belong to the benign hold-out, hence are not trained on.
    """

    spec: str
    row_ids: tuple[int, ...]
    held_out: tuple[int, ...] = ()


def select_rows(
    spec: str,
    row_ids: Iterable[int],
    holdout: Collection[int],
    scores: Mapping[int, float] | None = None,
    seed: int = 0,
) -> Selection:
    """Choose rows by a specification.

    Parameters
    ----------
    spec : str
        ``top:K`` (highest Self-Inf-N), ``random:K``, or the path of a text file with one row id a line.
    row_ids : iterable of int
        The dataset's usable rows.
    holdout : collection of int
        Frozen benign rows; ``top`` and ``random`` pass over them, a file's are left out and named.
    scores : mapping of row id to Self-Inf-N, optional
        Needed for ``top:K``.
    seed : int
        Seed of ``random:K``.

    Raises
    ------
    UserError
        For a bad specification, unknown ids, or more rows asked for than there are.
    """
    known = sorted(set(row_ids))
    match = _SPEC.fullmatch(spec.strip())
    if not match:
        return selection_of(spec, read_ids(Path(spec)), known, holdout)
    kind, count = match[1].lower(), match[2].strip()
    if not count.isdecimal() or int(count) < 1:
        raise UserError(N_("{spec} does not say how many rows: write for example {kind}:100."), spec=spec, kind=kind)
    k = int(count)
    free = [row_id for row_id in known if row_id not in set(holdout)]
    if kind == "top":
        if scores is None:
            raise UserError(N_("{spec} needs scores: give a scores file, or score the dataset first."), spec=spec)
        # A score that is not a number has no rank.
        free = [row_id for row_id in free if math.isfinite(scores.get(row_id, math.nan))]
    if k > len(free):
        raise UserError(
            N_("{spec} asks for {k} rows, but only {n} can be chosen (held-out rows never are)."),
            spec=spec,
            k=k,
            n=len(free),
        )
    if kind == "top" and scores is not None:
        chosen = sorted(free, key=lambda row_id: (-scores[row_id], row_id))[:k]
    else:
        chosen = random.Random(seed).sample(free, k)
    return Selection(spec, tuple(sorted(chosen)))


def selection_of(spec: str, wanted: Iterable[int], row_ids: Iterable[int], holdout: Collection[int]) -> Selection:
    """Check rows chosen one by one; held-out ones are left out.

    Raises
    ------
    UserError
        When some are unknown, or none is left.
    """
    wanted = sorted(set(wanted))
    if unknown := sorted(set(wanted) - set(row_ids)):
        raise UserError(
            N_("{count} of the rows are not usable rows of this dataset, for example row {row_id}."),
            count=len(unknown),
            row_id=unknown[0],
        )
    held_out = tuple(row_id for row_id in wanted if row_id in set(holdout))
    chosen = tuple(row_id for row_id in wanted if row_id not in held_out)
    if not chosen:
        raise UserError(
            N_("There is no row to train on: {count} chosen, {held_out} of them held out for measuring."),
            count=len(wanted),
            held_out=len(held_out),
        )
    return Selection(spec, chosen, held_out)


def read_ids(path: Path) -> list[int]:
    """Read row ids, one a line; empty lines and ``#`` comments are passed over.

    Raises
    ------
    UserError
        When there is no such file, or a line is not a row id.
    """
    if not path.is_file():
        raise UserError(
            N_("There is no file {path} with row ids; write top:K, random:K, or a file's path."),
            path=str(path),
        )
    ids: list[int] = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), start=1):
        text = line.split("#")[0].strip()
        if not text:
            continue
        if not re.fullmatch("[0-9]+", text):
            raise UserError(
                N_("{path}, line {line}: {text} is not a row id."),
                path=str(path),
                line=number,
                text=text[:40],
            )
        ids.append(int(text))
    return ids
