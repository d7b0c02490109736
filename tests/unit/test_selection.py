"""Which rows a probe trains on."""

from pathlib import Path

import pytest

from core.errors import UserError
from core.selection import select_rows

ROWS = range(20)
HOLDOUT = {3, 7}
SCORES = {row_id: float(row_id) for row_id in ROWS}


def test_top_takes_the_highest_scores_and_passes_over_the_holdout() -> None:
    scores = SCORES | {3: 99.0}
    assert select_rows("top:3", ROWS, HOLDOUT, scores).row_ids == (17, 18, 19)


def test_rows_without_a_score_are_never_top() -> None:
    scores = {1: 1.0, 2: float("nan"), 4: 2.0}
    assert select_rows("top:2", ROWS, HOLDOUT, scores).row_ids == (1, 4)
    with pytest.raises(UserError, match="only 2"):
        select_rows("top:3", ROWS, HOLDOUT, scores)


def test_ties_are_broken_by_row_id() -> None:
    assert select_rows("top:2", ROWS, HOLDOUT, dict.fromkeys(ROWS, 1.0)).row_ids == (0, 1)


def test_random_is_seeded_and_never_held_out() -> None:
    for seed in range(30):
        chosen = select_rows("random:10", ROWS, HOLDOUT, seed=seed).row_ids
        assert len(set(chosen)) == 10 and not set(chosen) & HOLDOUT
    assert select_rows("random:10", ROWS, HOLDOUT, seed=1) == select_rows("random:10", ROWS, HOLDOUT, seed=1)
    assert select_rows("random:10", ROWS, HOLDOUT, seed=1) != select_rows("random:10", ROWS, HOLDOUT, seed=2)


def test_too_many_rows_says_how_many_there_are() -> None:
    with pytest.raises(UserError, match="only 18"):
        select_rows("random:19", ROWS, HOLDOUT)
    assert len(select_rows("random:18", ROWS, HOLDOUT).row_ids) == 18


@pytest.mark.parametrize("spec", ["top:", "top:x", "random:0", "random:-3", "top:1.5"])
def test_a_bad_number_is_said(spec: str) -> None:
    with pytest.raises(UserError, match="how many rows"):
        select_rows(spec, ROWS, HOLDOUT, SCORES)


def test_top_without_scores_is_said() -> None:
    with pytest.raises(UserError, match="scores"):
        select_rows("top:3", ROWS, HOLDOUT)


def test_ids_come_from_a_file_and_held_out_ones_are_named(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_text("\ufeff5\n\n# comment\n 2 \n3\n5\n", encoding="utf-8")
    chosen = select_rows(str(path), ROWS, HOLDOUT)
    assert (chosen.row_ids, chosen.held_out) == ((2, 5), (3,))


def test_unknown_ids_bad_lines_and_missing_files_are_said(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_text("1\n400\n", encoding="utf-8")
    with pytest.raises(UserError, match="row 400"):
        select_rows(str(path), ROWS, HOLDOUT)
    path.write_text("1\ntwo\n", encoding="utf-8")
    with pytest.raises(UserError, match="line 2: two"):
        select_rows(str(path), ROWS, HOLDOUT)
    with pytest.raises(UserError, match="no file"):
        select_rows("absent.txt", ROWS, HOLDOUT)
    path.write_text("3\n7\n", encoding="utf-8")
    with pytest.raises(UserError, match="2 of them held out"):
        select_rows(str(path), ROWS, HOLDOUT)
