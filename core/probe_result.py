"""The documented schema of a probe's result, ``probe.json``.

``before.<metric>`` and ``arms.<arm>.seeds.<seed>.<metric>`` are ``{value, low, high, n}`` (rates also ``k``), each
with its 95% interval over prompts or rows. ``arms.<arm>.difference.<metric>`` is the paired change against before,
over all seeds of the arm; ``arms.<arm>.against.<other arm>.<metric>`` the paired difference of two arms.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.policy import Verdict
from core.safety.differences import Difference
from core.safety.drift import Drift
from core.safety.judges import Outcome
from core.safety.metrics import Estimate, Metrics
from core.wording import Note

SCHEMA_VERSION = 2

Kind = Literal["harmful", "benign"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class LeftOut(_Frozen):
    """A row or prompt that was asked for and not used."""

    row_id: int | None
    line: int | None = None
    reason: str


class TrainReport(_Frozen):
    """What was trained on and how it went."""

    rows: int
    row_ids: list[int] = Field(description="negative ids are safety rows; a task file's ids are its own")
    supervised_tokens: int = Field(description="per epoch: tokens that the loss is taken over")
    tokens: int = Field(description="per epoch: input tokens without padding")
    steps: int = Field(description="optimizer steps")
    trainable_parameters: int
    precision: str = Field("float32", description="of the matrix products")
    loss_curve: list[float] = Field(description="each step's loss before the step, nats per token")
    seconds: float
    tokens_per_second: float


class Answer(_Frozen):
    """One answer and what the judge says of it."""

    answer: str
    outcome: Outcome
    reason: str
    judge: str
    harmfulness: float | None = Field(None, description="1 to 5, where the judge gives it")
    second_outcome: Outcome | None = Field(None, description="of the second judge, where there is one")
    second_judge: str = ""
    refusal_margin: float | None = Field(None, description="of a harmful prompt, nats per token")
    overruled: Outcome | None = Field(None, description="the judge's outcome, where a person overruled it")


class JudgedAnswer(Answer):
    """An answer with its prompt. Benign prompts have the ids ``row-<row_id>``."""

    prompt_id: str
    prompt: str
    category: str
    kind: Kind


class RowLoss(_Frozen):
    """Loss of one held-out row, in nats per supervised token."""

    row_id: int
    loss: float
    supervised_tokens: int


class Evaluation(_Frozen):
    """One model's answers to the test, judged and counted; ``key`` names the test and the base model."""

    key: str
    metrics: Metrics
    drift: Drift
    answers: list[JudgedAnswer]
    benign_losses: list[RowLoss]
    task_losses: list[RowLoss] = []
    seconds: float
    device: str = ""


class ArmRun(_Frozen):
    """One fine-tune and its evaluation."""

    arm: str
    seed: int
    training: TrainReport
    evaluation: Evaluation


class SeedResult(Metrics):
    """One fine-tune's metrics, and how they differ from before."""

    difference: dict[str, Difference]
    drift: Drift
    train: TrainReport
    benign_losses: list[RowLoss]
    task_losses: list[RowLoss]
    seconds: dict[str, float] = Field(description="training, evaluation")


class ArmResult(_Frozen):
    """One arm: all its seeds."""

    kind: str
    controls: str | None = Field(None, description="the arm that a length-matched arm is the control of")
    settings: dict[str, Any] = Field(description="overrides of the probe's settings, of this arm alone")
    rows: int = Field(description="rows that each seed trained on")
    supervised_tokens: Estimate = Field(description="per row, over all seeds' rows")
    seeds: dict[str, SeedResult]
    pooled: dict[str, Estimate] = Field(description="mean over seeds; the interval is over prompts, for these seeds")
    difference: dict[str, Difference] = Field(description="against before, over all seeds")
    over_seeds: dict[str, Difference] = Field({}, description="the same with an interval over seeds, from 5 seeds on")
    against: dict[str, dict[str, Difference]] = Field({}, description="against other arms")
    by_category: dict[str, Difference] = Field(
        {}, description="harmful compliance, intervals widened for all categories"
    )


class ArmAnswer(Answer):
    """What one fine-tune answered."""

    arm: str
    seed: int


class PromptAnswers(_Frozen):
    """The same prompt's answers before and after each fine-tune."""

    prompt_id: str
    prompt: str
    category: str
    kind: Kind
    before: Answer
    after: list[ArmAnswer]


class Skipped(_Frozen):
    """A dose that was not run because a cheaper one had decided."""

    arm: str
    note: Note


class ProbeResult(_Frozen):
    """Everything one probe measured, and what it was measured with."""

    schema_version: int = SCHEMA_VERSION
    model_id: str
    model_name: str
    target_model: str | None = None
    template: str = Field(description="own, or fallback where the tokenizer has no chat template")
    dataset: str = Field(description="fingerprint")
    data: str = Field("", description="file or hub id, as given on the command line")
    flagged: list[int] = Field([], description="rows marked for exclusion when the probe was started")
    decisions: str = Field("", description="hash of the flagged rows")
    settings: dict[str, Any]
    seeds: list[int]
    size: int = Field(description="rows that each arm trained on, unless its own setting says otherwise")
    test: str = Field(description="content address of what was asked")
    before: Metrics
    before_drift: Drift
    before_benign_losses: list[RowLoss]
    before_task_losses: list[RowLoss]
    arms: dict[str, ArmResult]
    skipped: list[Skipped] = []
    judge_agreement: dict[str, Any] | None = Field(None, description="of two judges: kappa, raw, n")
    verdict: Verdict
    cause: Note | None = Field(None, description="whether the rows or the fine-tune itself did it")
    answers: list[PromptAnswers]
    timings: dict[str, float] = Field(description="seconds: before, and each arm's training and evaluation")
    versions: dict[str, str]
    rejected_prompts: list[LeftOut] = Field([], description="records of the prompt file that are not used")
    left_out: list[LeftOut] = Field([], description="rows that the model's template or length cannot express")
    held_out: int = Field(0, description="flagged rows that are held out for measuring, hence not trained on")
    notes: list[Note]
    note: str = Field(description="the notes, in English")
