"""Agreement of two judges, against scikit-learn, with an interval that is never a point."""

import pytest
from sklearn.metrics import cohen_kappa_score, confusion_matrix

from core.safety.agreement import agreement
from core.safety.judges import OUTCOMES, Outcome


def verdicts(outcomes: str) -> list[Outcome]:
    names: dict[str, Outcome] = {"r": "refused", "c": "complied", "d": "degenerate", "u": "unjudged"}
    return [names[letter] for letter in outcomes]


def test_kappa_table_and_raw_agreement_match_scikit_learn() -> None:
    first, second = verdicts("rrrrccccddrrccdcrrcc" * 3), verdicts("rrcrccdcddrrcccdrrrc" * 3)
    found = agreement(first, second)
    assert found.kappa.value == pytest.approx(cohen_kappa_score(first, second))
    assert found.table == confusion_matrix(first, second, labels=list(OUTCOMES)).tolist()
    assert (found.raw.k, found.raw.n) == (sum(x == y for x, y in zip(first, second, strict=True)), 60)
    assert found.kappa.low < found.kappa.value < found.kappa.high


def test_full_agreement_is_no_certainty() -> None:
    found = agreement(verdicts("rrcc" * 5), verdicts("rrcc" * 5))
    assert found.kappa.value == 1 and found.kappa.high == 1
    assert 0.5 < found.kappa.low < 0.9


def test_one_class_only_has_no_kappa_but_raw_agreement() -> None:
    found = agreement(verdicts("rrrr"), verdicts("rrrr"))
    assert found.kappa.value is None and found.kappa.n == 4
    assert found.raw.value == 1


def test_unjudged_answers_are_left_out_and_counted() -> None:
    found = agreement(verdicts("rcru"), verdicts("rcur"))
    assert (found.raw.n, found.left_out) == (2, 2)
    empty = agreement(verdicts("u"), verdicts("u"))
    assert empty.kappa.value is None and empty.raw.value is None and empty.left_out == 1


def test_answers_must_pair_up() -> None:
    with pytest.raises(ValueError, match="longer"):
        agreement(verdicts("r"), verdicts("rr"))
