"""Formulas, ranks and the length bias."""

import math

import pandas as pd
import pytest

from core.errors import UserError
from core.scores import length_bias, ranks, self_inf_n, top_k, with_length_unit


def table() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "row_id": [4, 1, 7, 9],
            "self_inf": [100.0, 100.0, 5.0, 1.0],
            "self_inf_n": [1.0, 1.0, 3.0, 2.0],
            "answer_tokens": [1, 2, 300, 40],
            "answer_words": [1, 1, 200, 30],
        }
    )


def test_self_inf_n_is_the_papers_formula() -> None:
    assert float(self_inf_n(99.0, 9)) == pytest.approx(math.log(100) + math.log(10))
    assert float(self_inf_n(0.0, 0)) == 0


def test_the_length_unit_changes_self_inf_n_alone() -> None:
    words = with_length_unit(table(), "words")
    assert words["self_inf_n"].tolist() == pytest.approx(
        [math.log(101) + math.log(2)] * 2 + [math.log(6) + math.log(201), math.log(2) + math.log(31)]
    )
    assert words["self_inf"].tolist() == table()["self_inf"].tolist()


def test_ties_go_to_the_smaller_row_id() -> None:
    assert ranks(table(), "self_inf").tolist() == [2, 1, 3, 4]
    assert top_k(table(), "self_inf", 2) == [1, 4]


def test_held_out_rows_do_not_come_up() -> None:
    assert top_k(table(), "self_inf", 2, exclude=[1]) == [4, 7]


@pytest.mark.parametrize("k", [0, 5])
def test_asking_for_more_rows_than_there_are_is_an_error_with_the_number(k: int) -> None:
    with pytest.raises(UserError, match="4 rows can be chosen"):
        top_k(table(), "self_inf", k)


def test_an_unknown_score_is_named() -> None:
    with pytest.raises(UserError, match="charm"):
        top_k(table(), "charm", 1)


def test_length_bias_tells_short_from_long_selections() -> None:
    bias = length_bias(table(), "self_inf", 2)
    assert bias["median_top"] == 1.5 and bias["median_all"] == 21
    assert bias["spearman"] < 0
