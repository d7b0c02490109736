"""What a probe does, as plain values; imports no torch, so that pages can make settings too."""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from core.safety.judge_settings import JudgeSettings

# Peaks. LoRA adapters start at zero and take a far larger step than weights that are already good.
LEARNING_RATES = {"lora": 1e-3, "full": 5e-5}
DEFAULT_ARMS = ("flagged", "length-matched", "as-is")
SEEDS_CPU, SEEDS_GPU = 2, 5


class TrainSettings(BaseModel):
    """The recipe of one fine-tune.

    ``batch_rows`` rows make one optimizer step, whatever fits in memory at once: ``token_budget`` only cuts a
    step into micro-batches. The loss of a step is the mean over its rows of each row's mean over its
    supervised tokens, so that a one-word answer weighs as much as a page, as it does in Self-Inf.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["lora", "full"] = Field("lora", description="LoRA adapters, or all parameters")
    epochs: int = Field(3, ge=1, le=100)
    learning_rate: float = Field(
        LEARNING_RATES["lora"], gt=0, le=1, description="peak; left out it is 1e-3 for lora and 5e-5 for full"
    )
    batch_rows: int = Field(10, ge=1, description="rows per optimizer step")
    optimizer: Literal["adamw", "sgd"] = "adamw"
    warmup_ratio: float = Field(0.1, ge=0, lt=1, description="share of the steps; then linear down to zero")
    weight_decay: float = Field(0.0, ge=0, description="on matrices only, not on biases and norms")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    lora_r: int = Field(8, ge=1)
    lora_alpha: float = Field(16.0, gt=0)
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    lora_targets: Literal["all-linear", "attention"] = Field("all-linear", description="modules with an adapter")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of matrix products in training and answering; auto: bfloat16 where the machine has it"
    )
    token_budget: int = Field(1024, ge=1, description="tokens with padding that are held in memory at once")
    seed: int = Field(0, ge=0, description="of adapter start, row order and dropout; the first of several")

    @model_validator(mode="before")
    @classmethod
    def _learning_rate_of_the_method(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("learning_rate") is None:
            return {**values, "learning_rate": LEARNING_RATES.get(values.get("method", "lora"), 5e-5)}
        return values

    def recipe(self) -> dict[str, Any]:
        """Return what decides the weights, besides model, rows and seed."""
        names = set(TrainSettings.model_fields) - {"seed", "token_budget"}
        return {name: getattr(self, name) for name in sorted(names)}


class ProbeSettings(TrainSettings):
    """A probe: which model, which arms and recipe, and what it is asked before and after.

    The defaults suit a 135M model on 2 cores; the README states their measured time.
    """

    model: str = Field("bundled", description="bundled, bundled-base, a folder, or a hub id")
    target_model: str | None = Field(
        None, description="the model to be fine-tuned for real; another probed model makes a demonstration"
    )
    arms: Annotated[tuple[str, ...], Field(min_length=1, max_length=40)] = DEFAULT_ARMS
    rows: int = Field(100, ge=1, description="most rows that an arm trains on; all arms train on equally many")
    seeds: int | None = Field(None, ge=1, le=10, description="fine-tunes per arm; null: 2 on a CPU, 5 on a GPU")
    max_length: int = Field(256, ge=8, description="longest input, in tokens")
    truncate: Literal["prompt", "tail"] = "prompt"
    prompt_source: str = Field(
        "held-out", description="held-out, do-not-answer, harmbench, all, or a CSV, JSON, JSONL or Parquet file"
    )
    limit_prompts: int | None = Field(100, ge=1, description="harmful prompts, drawn evenly over categories; null: all")
    limit_benign: int | None = Field(50, ge=0, description="held-out benign rows; null: all")
    max_new_tokens: int = Field(64, ge=1, description="longest answer, in tokens; answers are greedy")
    generation_batch: int = Field(16, ge=1, description="prompts answered at once")
    judge: JudgeSettings = JudgeSettings()
    second_judge: JudgeSettings | None = Field(None, description="reads the same answers; its agreement is reported")
    task_file: str | None = Field(None, description="rows of one's own task, held out: their loss is measured")
    safety_file: str | None = Field(None, description="rows that the arm mitigated mixes in; null: built-in refusals")

    def test_key(self) -> str:
        """Hash the settings that decide what is measured, whatever is trained (16 hex digits)."""
        names = ("max_length", "truncate", "max_new_tokens", "generation_batch", "token_budget")
        content = json.dumps({name: getattr(self, name) for name in names}, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def judge_key(self) -> str:
        """Hash the judges (two keys of 16 hex digits)."""
        return f"{self.judge.key()} {self.second_judge.key() if self.second_judge else ''}"


# Left out of a preset: the default above.
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {
        "arms": ("flagged", "as-is"),
        "rows": 60,
        "seeds": 1,
        "limit_prompts": 50,
        "limit_benign": 25,
        "max_new_tokens": 48,
    },
    "default": {},
    # Guan et al. fine-tune all parameters of 7B models on 100 rows with this recipe.
    "paper": {"method": "full", "learning_rate": 5e-5, "epochs": 5, "batch_rows": 20, "rows": 100},
}


def preset(name: str) -> dict[str, Any]:
    """Return the settings of a preset that differ from the defaults; an unknown name is a KeyError."""
    return dict(PRESETS[name])
