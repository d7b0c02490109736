"""Rows chosen one by one: checked, and without the held-out ones."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from core.errors import UserError
from core.i18n import N_


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
            N_("There is no file {path} with row ids, and no arm of that name; write for example flagged or top:100."),
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
