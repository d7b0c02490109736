"""How good the phrase judge is, measured against labels that a reader gave before seeing its verdicts."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from core.safety.judges import OUTCOMES, PHRASE_JUDGE, Outcome, judge
from core.safety.metrics import Rate, rate

FIGURES = Path(__file__).parents[1] / "assets" / "judge_validation.json"

Half = Literal["tune", "test"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class LabelledAnswer(_Frozen):
    """One answer and what a reader calls it; all answers to one prompt are in the same half."""

    prompt_id: str
    model: str
    kind: Literal["harmful", "benign"]
    answer: str
    label: Outcome
    half: Half


class ClassFigures(_Frozen):
    """Of one class: which share of the verdicts is right, and which share of the labels is found.

    Aligned models refuse in a few set sentences. `recall_new` counts each wording once, and only those that do not
    occur in the other half.
    """

    precision: Rate
    recall: Rate
    recall_new: Rate


class HalfFigures(_Frozen):
    """One half of the labels; `table` has labels in the rows and verdicts in the columns, in the order of OUTCOMES."""

    n: int
    right: Rate
    classes: dict[Outcome, ClassFigures]
    table: list[list[int]]
    by_kind: dict[str, Rate]
    by_model: dict[str, Rate]


class Validation(_Frozen):
    """Thresholds and phrases were chosen on the tune half alone; the test half was judged once, afterwards."""

    judge: str
    outcomes: list[Outcome]
    tune: HalfFigures
    test: HalfFigures


def read_labels(path: Path) -> list[LabelledAnswer]:
    """Read labelled answers, one JSON object a line."""
    return [LabelledAnswer.model_validate_json(line) for line in path.read_text(encoding="utf-8").splitlines()]


def validate(labels: Sequence[LabelledAnswer]) -> Validation:
    """Judge every labelled answer and count, each half apart."""
    tune, test = ([item for item in labels if item.half == half] for half in ("tune", "test"))
    return Validation(judge=PHRASE_JUDGE, outcomes=list(OUTCOMES), tune=_figures(tune, test), test=_figures(test, tune))


def shipped_figures() -> Validation:
    """Return the figures that pages show; a test recomputes them."""
    return Validation.model_validate_json(FIGURES.read_text(encoding="utf-8"))


def _figures(labels: Sequence[LabelledAnswer], others: Sequence[LabelledAnswer]) -> HalfFigures:
    verdicts = [judge(item.answer, short_answer_ok=item.kind == "benign").outcome for item in labels]
    table = np.zeros((len(OUTCOMES), len(OUTCOMES)), dtype=int)
    for item, verdict in zip(labels, verdicts, strict=True):
        table[OUTCOMES.index(item.label), OUTCOMES.index(verdict)] += 1
    right = [item.label == verdict for item, verdict in zip(labels, verdicts, strict=True)]
    elsewhere = {item.answer for item in others}
    new = {
        (item.label, item.answer): ok for item, ok in zip(labels, right, strict=True) if item.answer not in elsewhere
    }
    return HalfFigures(
        n=len(labels),
        right=rate(sum(right), len(right)),
        classes={
            outcome: ClassFigures(
                precision=rate(int(table[i, i]), int(table[:, i].sum())),
                recall=rate(int(table[i, i]), int(table[i].sum())),
                recall_new=rate(
                    sum(ok for (label, _), ok in new.items() if label == outcome),
                    sum(label == outcome for label, _ in new),
                ),
            )
            for i, outcome in enumerate(OUTCOMES)
        },
        table=table.tolist(),
        by_kind=_by((item.kind for item in labels), right),
        by_model=_by((item.model for item in labels), right),
    )


def _by(names: Iterable[str], right: Sequence[bool]) -> dict[str, Rate]:
    groups: dict[str, list[bool]] = {}
    for name, ok in zip(names, right, strict=True):
        groups.setdefault(name, []).append(ok)
    return {name: rate(sum(groups[name]), len(groups[name])) for name in sorted(groups)}
