"""Rows chosen one by one."""

from pathlib import Path

import pytest

from core.errors import UserError
from core.selection import read_ids, selection_of

ROWS = range(20)
HOLDOUT = {3, 7}


def test_ids_come_from_a_file_and_held_out_ones_are_named(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_text("\ufeff5\n\n# comment\n 2 \n3\n5\n", encoding="utf-8")
    chosen = selection_of("ids", read_ids(path), ROWS, HOLDOUT)
    assert (chosen.row_ids, chosen.held_out) == ((2, 5), (3,))


def test_unknown_ids_bad_lines_and_missing_files_are_said(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    with pytest.raises(UserError, match="row 400"):
        selection_of("ids", [1, 400], ROWS, HOLDOUT)
    path.write_text("1\ntwo\n", encoding="utf-8")
    with pytest.raises(UserError, match="line 2: two"):
        read_ids(path)
    with pytest.raises(UserError, match="no file"):
        read_ids(tmp_path / "absent.txt")
    with pytest.raises(UserError, match="2 of them held out"):
        selection_of("ids", [3, 7], ROWS, HOLDOUT)
