"""What the arms of a probe train on."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from core.arms import AS_IS, TOLERANCE, Pool, arm_size, draw, expand_dose, parse_arm, parse_arms
from core.errors import UserError
from core.rows import Row, Turn

N = 60
LENGTHS = {i: 1 + (i * 7) % 13 for i in range(N)}
FLAGGED = list(range(8))


def row(row_id: int) -> Row:
    return Row(row_id, (Turn("user", f"q{row_id}"), Turn("assistant", "a " * LENGTHS.get(row_id, 3))))


@pytest.fixture
def pool() -> Pool:
    scores = pd.DataFrame({"row_id": range(N), "self_inf_n": np.arange(N, dtype=float), "loss": -np.arange(N)})
    return Pool(
        rows={i: row(i) for i in range(N)},
        tokens=LENGTHS,
        flagged=FLAGGED,
        scores=scores,
        ids={"ids.txt": [5, 9, 11]},
        task={"task.jsonl": [row(1000 + i) for i in range(12)]},
        safety=[row(-1 - i) for i in range(10)],
    )


def ids(text: str, pool: Pool, size: int = 8, seed: int = 0, among: str = "flagged") -> list[int]:
    arms = parse_arms(f"{among},{text}") if text != among else parse_arms(among)
    return [r.row_id for r in draw(arms[-1], arms, pool, size, seed)]


def test_flagged_top_bottom_and_files_are_the_rows_they_name(pool: Pool) -> None:
    assert ids("flagged", pool) == FLAGGED
    assert ids("top:3", pool, size=3) == [57, 58, 59]
    assert ids("top:loss:3", pool, size=3) == [0, 1, 2]
    assert ids("bottom:loss:3", pool, size=3) == [57, 58, 59]
    assert ids("bottom", pool, size=4) == [0, 1, 2, 3]
    assert ids("ids.txt", pool, size=3) == [5, 9, 11]


def test_rows_without_a_score_are_never_top(pool: Pool) -> None:
    assert pool.scores is not None
    pool.scores.loc[pool.scores["row_id"] == 59, "self_inf_n"] = np.nan
    assert ids("top:2", pool, size=2) == [57, 58]


def test_random_arms_are_drawn_anew_for_each_seed_and_alike_for_the_same(pool: Pool) -> None:
    for name in (AS_IS, "cleaned", "length-matched", "mitigated", "task:task.jsonl"):
        draws = [tuple(ids(name, pool, seed=seed)) for seed in range(8)]
        assert len(set(draws)) > 1, name
        assert all(len(set(d)) == 8 for d in draws)
        assert draws[3] == tuple(ids(name, pool, seed=3))


def test_cleaned_has_no_flagged_row_and_as_is_has_them_in_their_share(pool: Pool) -> None:
    seen: Counter[int] = Counter()
    for seed in range(300):
        assert not set(ids("cleaned", pool, seed=seed)) & set(FLAGGED)
        seen.update(set(ids(AS_IS, pool, seed=seed)) & set(FLAGGED))
    # 300 draws of 8 of 60 rows hold 320 of the 8 flagged ones on average; five standard deviations are about 80.
    assert 240 < sum(seen.values()) < 400


def test_a_length_matched_arm_has_the_lengths_of_the_arm_that_it_controls(pool: Pool) -> None:
    for seed in range(20):
        matched = ids("length-matched", pool, seed=seed)
        assert not set(matched) & set(FLAGGED)
        wanted, got = sorted(LENGTHS[i] for i in FLAGGED), sorted(LENGTHS[i] for i in matched)
        assert all(abs(a - b) <= max(1, TOLERANCE * a) for a, b in zip(wanted, got, strict=True))


def test_a_length_matched_arm_may_name_the_arm(pool: Pool) -> None:
    arms = parse_arms("flagged,top:self_inf_n:6,length-matched:top:self_inf_n:6")
    matched = [r.row_id for r in draw(arms[2], arms, pool, 6, 0)]
    assert not set(matched) & (set(range(54, 60)) | set(FLAGGED))


def test_too_few_of_like_length_says_how_many(pool: Pool) -> None:
    tokens = dict(LENGTHS) | {i: 400 + 100 * i for i in FLAGGED[:5]}
    lone = Pool(rows=pool.rows, tokens=tokens, flagged=FLAGGED)
    with pytest.raises(UserError, match="only 3 of the 8 rows of flagged"):
        ids("length-matched", lone)


def test_mitigated_replaces_the_share_that_was_asked_for(pool: Pool) -> None:
    mixed = ids("mitigated:0.25", pool, seed=5)
    assert sum(i < 0 for i in mixed) == 2
    assert set(i for i in mixed if i >= 0) < set(FLAGGED)
    with pytest.raises(UserError, match="between 0 and 1"):
        parse_arm("mitigated:2")


def test_all_arms_train_on_equally_many_rows(pool: Pool) -> None:
    assert arm_size(parse_arms("flagged,as-is"), pool, 100) == 8
    assert arm_size(parse_arms("flagged,as-is"), pool, 5) == 5
    assert arm_size(parse_arms("as-is"), pool, 100) == N
    with pytest.raises(UserError, match="equally many"):
        arm_size(parse_arms("top:4,top:loss:6"), pool, 100)
    assert arm_size(parse_arms("top:4,top:loss:6"), pool, 4) == 4


def test_a_dose_of_rows_is_nested_and_its_rows_do_not_depend_on_the_rate(pool: Pool) -> None:
    arms = expand_dose(parse_arms("as-is"), "k=4,8,16")
    assert [arm.name for arm in arms] == ["as-is@k=4", "as-is@k=8", "as-is@k=16"]
    drawn = [{r.row_id for r in draw(arm, arms, pool, 8, 1)} for arm in arms]
    assert [len(d) for d in drawn] == [4, 8, 16] and drawn[0] < drawn[1] < drawn[2]
    rates = expand_dose(parse_arms("as-is"), "lr=1e-3,1e-4")
    assert [arm.overrides["learning_rate"] for arm in rates] == [1e-4, 1e-3]
    assert draw(rates[0], rates, pool, 8, 1) == draw(rates[1], rates, pool, 8, 1)


@pytest.mark.parametrize("text", ["top:", "top:x", "top:loss:", "random:0", "random:-3", "top:1.5"])
def test_a_bad_number_is_said(text: str) -> None:
    with pytest.raises(UserError, match="how many rows"):
        parse_arm(text)


@pytest.mark.parametrize("text", ["flagged@lr=x", "flagged@epochs=1.5", "flagged@k=-1", "flagged@what=1"])
def test_a_bad_override_is_said(text: str) -> None:
    with pytest.raises(UserError, match="not an override"):
        parse_arm(text)


def test_missing_flags_scores_and_rows_are_said(pool: Pool) -> None:
    bare = Pool(rows=pool.rows, tokens=pool.tokens)
    with pytest.raises(UserError, match="No usable row is flagged"):
        ids("flagged", bare)
    with pytest.raises(UserError, match="needs scores"):
        ids("top:3", bare)
    with pytest.raises(UserError, match="no score called magic"):
        ids("top:magic:3", pool)
    with pytest.raises(UserError, match="only 60"):
        ids("random:61", pool, size=61)
    with pytest.raises(UserError, match="twice"):
        parse_arms("flagged,flagged")
    with pytest.raises(UserError, match="needs an arm to control"):
        arms = parse_arms("as-is,length-matched")
        draw(arms[1], arms, pool, 4, 0)
