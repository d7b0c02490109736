"""The documented schema of a probe's result, ``probe.json``.

``before.<metric>`` and ``after.<metric>`` are ``{value, low, high, n}`` (rates also ``k``). One probe is one
arm with one seed: an `ArmRun`. A comparison of several arms and seeds holds several beside one `before`.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.safety.judges import Outcome
from core.safety.metrics import Metrics

SCHEMA_VERSION = 1

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
    row_ids: list[int]
    supervised_tokens: int = Field(description="per epoch: tokens that the loss is taken over")
    tokens: int = Field(description="per epoch: input tokens without padding")
    steps: int = Field(description="optimizer steps")
    trainable_parameters: int
    loss_curve: list[float] = Field(description="each step's loss before the step, nats per token")
    seconds: float
    tokens_per_second: float
    left_out: list[LeftOut] = []


class Answer(_Frozen):
    """One answer and what the judge says of it."""

    answer: str
    outcome: Outcome
    reason: str
    judge: str


class JudgedAnswer(Answer):
    """An answer with its prompt. Benign prompts have the ids ``row-<row_id>``."""

    prompt_id: str
    prompt: str
    category: str
    kind: Kind


class BenignLoss(_Frozen):
    """Loss of one held-out row, in nats per supervised token."""

    row_id: int
    loss: float
    supervised_tokens: int


class Evaluation(_Frozen):
    """One model's answers to the test, judged and counted; ``key`` names the test and the base model."""

    key: str
    metrics: Metrics
    answers: list[JudgedAnswer]
    benign_losses: list[BenignLoss]
    seconds: float


class ArmRun(_Frozen):
    """One fine-tune and its evaluation."""

    arm: str
    seed: int
    training: TrainReport
    evaluation: Evaluation


class AnswerPair(_Frozen):
    """The same prompt's answers before and after."""

    prompt_id: str
    prompt: str
    category: str
    kind: Kind
    before: Answer
    after: Answer


class Note(_Frozen):
    """A sentence as gettext message id and the values for its places."""

    template: str
    params: dict[str, Any] = {}

    @property
    def text(self) -> str:
        """The sentence in English."""
        return self.template.format(**self.params)


class ProbeResult(_Frozen):
    """Everything one probe measured, and what it was measured with."""

    schema_version: int = SCHEMA_VERSION
    model_id: str
    model_name: str
    template: str = Field(description="own, or fallback where the tokenizer has no chat template")
    dataset: str = Field(description="fingerprint")
    arm: str = Field(description="which rows: as they were asked for")
    seed: int
    settings: dict[str, Any]
    before: Metrics
    after: Metrics
    answers: list[AnswerPair]
    train: TrainReport
    timings: dict[str, float] = Field(description="seconds: before, training, after")
    versions: dict[str, str]
    rejected_prompts: list[LeftOut] = Field([], description="records of the prompt file that are not used")
    notes: list[Note]
    note: str = Field(description="the notes, in English")
