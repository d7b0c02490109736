"""What a probe does, as plain values; imports no torch, so that pages can make settings too."""

import hashlib
import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

# LoRA adapters start at zero and take a far larger step than weights that are already good.
LEARNING_RATES = {"lora": 5e-4, "full": 5e-5}


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
        LEARNING_RATES["lora"], gt=0, le=1, description="peak; left out it is 5e-4 for lora and 5e-5 for full"
    )
    batch_rows: int = Field(10, ge=1, description="rows per optimizer step")
    warmup_ratio: float = Field(0.1, ge=0, lt=1, description="share of the steps; then linear down to zero")
    weight_decay: float = Field(0.0, ge=0, description="on matrices only, not on biases and norms")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    lora_r: int = Field(8, ge=1)
    lora_alpha: float = Field(16, gt=0)
    lora_dropout: float = Field(0.0, ge=0, lt=1)
    token_budget: int = Field(1024, ge=1, description="tokens with padding that are held in memory at once")
    seed: int = Field(0, ge=0, description="of adapter start, row order and dropout")

    @model_validator(mode="before")
    @classmethod
    def _learning_rate_of_the_method(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("learning_rate") is None:
            return {**values, "learning_rate": LEARNING_RATES.get(values.get("method", "lora"), 5e-5)}
        return values


class ProbeSettings(TrainSettings):
    """A probe: which model, which recipe, and what it is asked before and after.

    The defaults suit a 135M model on 2 cores: 100 short rows and 60 + 30 prompts took 16 minutes on a busy machine.
    """

    model: str = Field("bundled", description="bundled, a folder, or a hub id")
    max_length: int = Field(256, ge=8, description="longest input, in tokens")
    truncate: Literal["prompt", "tail"] = "prompt"
    prompt_source: str = Field("all", description="do-not-answer, harmbench, all, or a CSV or JSONL file")
    limit_prompts: int | None = Field(100, ge=1, description="harmful prompts, drawn evenly over categories; null: all")
    limit_benign: int | None = Field(50, ge=0, description="held-out benign rows; null: all")
    max_new_tokens: int = Field(64, ge=1, description="longest answer, in tokens; answers are greedy")
    generation_batch: int = Field(16, ge=1, description="prompts answered at once")

    def test_key(self) -> str:
        """Hash the settings that decide what is measured, whatever is trained (16 hex digits)."""
        names = ("max_length", "truncate", "max_new_tokens", "generation_batch", "token_budget")
        content = json.dumps({name: getattr(self, name) for name in names}, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]
