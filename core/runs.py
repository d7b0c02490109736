"""What a scoring run was asked to do: plain settings, importable without torch."""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

# Raised whenever the engine's figures or the layout of a run's folder change: old and new runs are not mixed.
ENGINE_VERSION = 1


class ScoreSettings(BaseModel):
    """Settings of one scoring run.

    Parameters
    ----------
    model : str
        "bundled", a folder, or a hub id.
    max_length : int
        Longest input, in tokens.
    truncate : {"prompt", "tail"}
        "prompt" cuts inside prompt content to keep the answer whole; "tail" cuts the end, like the paper's code.
    length_unit : {"tokens", "words"}
        Unit of len(a) in Self-Inf-N. Changes no gradient, hence not part of the key.
    exact_loop : bool
        Score row by row with autograd over all parameters instead of the batched engine.
    token_budget : int
        Padded tokens in one batch, which is also what a killed run can lose. Changes the last digits only, hence
        not part of the key.
    limit : int, optional
        Score the first ``limit`` usable rows only.
    """

    model_config = ConfigDict(frozen=True)

    model: str = "bundled"
    max_length: Annotated[int, Field(ge=8)] = 512
    truncate: Literal["prompt", "tail"] = "prompt"
    length_unit: Literal["tokens", "words"] = "tokens"
    exact_loop: bool = False
    token_budget: PositiveInt = 1024
    limit: PositiveInt | None = None

    def key(self, model_id: str) -> str:
        """Return the content address of a run with these settings on model ``model_id`` (16 hex digits)."""
        parts = self.model_dump(exclude={"model", "length_unit", "limit", "token_budget"})
        text = json.dumps({"engine": ENGINE_VERSION, "model_id": model_id, **parts}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def run_address(dataset: str, folder: str, length_unit: str) -> str:
    """Return the address of a run's result: its folder holds gradients, which do not depend on the length unit."""
    return hashlib.sha256(f"{dataset}|{folder}|{length_unit}".encode()).hexdigest()[:16]
