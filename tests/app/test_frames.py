"""Tables for the pages."""

import numpy as np
import pandas as pd

from components import frames


def rows() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "row_id": [0, 1, 2, 5],
            "prompt": ["Name a bird", "Sum 1 and 2", "鳥の名前は?", "Say nothing"],
            "answer": ["A robin", "3", "こまどりです。", "..."],
            "category": ["qa", "sum", "qa", ""],
            "supplier": ["A", "A", "B", ""],
            "holdout": [False, True, False, False],
        }
    )


def scores() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "row_id": [0, 1, 2],
            "self_inf": [3.0, 10.0, 3.0],
            "self_inf_n": [0.0, 0.0, 0.0],
            "loss": [1.0, 2.0, 3.0],
            "answer_tokens": [2, 1, 7],
            "answer_words": [2, 1, 1],
            "supervised_tokens": [3, 2, 8],
            "truncated": [False, True, False],
        }
    )


def flags(*row_ids: int) -> pd.DataFrame:
    return pd.DataFrame({"row_id": list(row_ids), "flagged": [True] * len(row_ids), "note": ["why"] * len(row_ids)})


def test_inspect_frame_keeps_rows_without_scores_and_recomputes_by_unit() -> None:
    by_tokens = frames.inspect_frame(rows(), scores(), flags(1), "tokens")
    by_words = frames.inspect_frame(rows(), scores(), flags(1), "words")
    assert by_tokens["row_id"].tolist() == [0, 1, 2, 5]
    assert np.isclose(by_tokens.loc[2, "self_inf_n"], np.log(4) + np.log(8))
    assert np.isclose(by_words.loc[2, "self_inf_n"], np.log(4) + np.log(2))
    assert by_tokens["self_inf"].isna().tolist() == [False, False, False, True]
    assert by_tokens["flagged"].tolist() == [False, True, False, False]
    assert by_tokens["note"].tolist() == ["", "why", "", ""]


def test_ranking_breaks_ties_by_row_id_and_puts_unscored_rows_last() -> None:
    frame = frames.inspect_frame(rows(), scores(), flags())
    ordered = frames.ranked(frame, "self_inf")
    assert ordered["row_id"].tolist() == [1, 0, 2, 5]
    assert ordered["rank"].tolist() == [1, 2, 3, 0]


def test_filters_combine() -> None:
    frame = frames.inspect_frame(rows(), scores(), flags(0))
    assert frame["row_id"][frames.matches(frame, "ROBIN")].tolist() == [0]
    assert frame["row_id"][frames.matches(frame, categories=["qa"], suppliers=["B"])].tolist() == [2]
    assert frame["row_id"][frames.matches(frame, flagged=False)].tolist() == [1, 2, 5]
    assert frame["row_id"][frames.matches(frame, "(")].tolist() == []


def test_answers_without_spaces_are_japanese_and_chinese_ones_only() -> None:
    answers = pd.Series(
        ["plain words", "これは日本語です", "これは English words が混ざる文です", "中文回答", "", "42"]
    )
    assert frames.is_spaceless(answers).tolist() == [False, True, True, True, False, False]


def test_hover_shows_text_not_markup() -> None:
    table = rows().assign(prompt="<b>x</b> " + "long " * 50)
    hover = frames.prepare(table)["hover"]
    assert hover[0].startswith("&lt;b&gt;x&lt;/b&gt; long")
    assert hover.str.len().max() < 200


def test_another_order_of_rows_is_another_table() -> None:
    assert frames.table_key(pd.Series([1, 2, 3])) != frames.table_key(pd.Series([1, 3, 2]))
    assert frames.table_key(pd.Series([1, 2, 3])) == frames.table_key(pd.Series([1, 2, 3]))


def test_lasso_decides_by_the_polygon_even_when_it_is_concave() -> None:
    # A letter L: the upper right corner is outside.
    polygon = {"lasso": [{"x": [0, 4, 4, 2, 2, 0], "y": [0, 0, 2, 2, 4, 4]}]}
    x, y = np.array([1.0, 3.0, 3.0, 1.0, 5.0]), np.array([1.0, 1.0, 3.0, 3.0, 1.0])
    assert frames.chosen_by_shapes(x, y, polygon).tolist() == [True, True, False, True, False]


def test_boxes_in_any_direction_and_several_shapes_add_up() -> None:
    shapes = {"box": [{"x": [3, 1], "y": [3, 1]}, {"x": [8, 9], "y": [8, 9]}]}
    points = np.array([0.0, 2.0, 8.5])
    assert frames.chosen_by_shapes(points, points, shapes).tolist() == [False, True, True]


def test_on_a_log_axis_a_lasso_is_straight_on_the_screen() -> None:
    # The triangle (1,1) (100,1) (100,100): its long side is y = x on a log-log screen.
    triangle = {"lasso": [{"x": [1, 100, 100], "y": [1, 1, 100]}]}
    x, y = np.array([10.0, 10.0, -1.0]), np.array([9.0, 11.0, 1.0])
    assert frames.chosen_by_shapes(x, y, triangle, (True, True)).tolist() == [True, False, False]
    # Seen with one linear axis the same corners enclose other points.
    assert frames.chosen_by_shapes(np.array([10.0]), np.array([9.0]), triangle, (True, False)).tolist() == [True]
    assert frames.chosen_by_shapes(np.array([10.0]), np.array([60.0]), triangle, (True, False)).tolist() == [False]


def test_large_charts_draw_flagged_rows_and_the_top_and_a_fixed_sample() -> None:
    n = 5000
    frame = pd.DataFrame({"row_id": range(n), "flagged": False, "self_inf": np.arange(n, dtype=float)})
    frame.loc[7, "flagged"] = True
    points = frames.drawn(frame, "self_inf", limit=3000)
    assert len(points) == 3000
    assert 7 in points["row_id"].tolist()
    assert set(range(3000, n)) <= set(points["row_id"])
    assert points["row_id"].tolist() == frames.drawn(frame, "self_inf", limit=3000)["row_id"].tolist()
    assert len(frames.drawn(frame, "self_inf", limit=n)) == n


def test_cells_are_cut_and_flat() -> None:
    cut = frames.short(pd.Series(["a\n\n b", "x" * 1000]))
    assert cut[0] == "a b"
    assert len(cut[1]) == frames.PREVIEW + 1
