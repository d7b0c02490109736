"""The slow way: one row at a time, autograd over every parameter. Works for any model; oracle of the fast engine."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from core.encoding import IGNORE, EncodedRow
from core.gradients import RowGradients
from core.projection import Projection


class ExactLoop:
    """Per-row gradient norms by plain autograd.

    Parameters
    ----------
    model : PreTrainedModel
        Any causal language model.
    projection : Projection, optional
        How features are made; the same seed gives the engine's features.
    """

    def __init__(self, model: Any, projection: Projection | None = None) -> None:
        self.model = model
        self.projection = projection or Projection()

    def score(self, rows: Sequence[EncodedRow]) -> RowGradients:
        """Score rows one after the other; the result's shapes are those of `GradientEngine.score`."""
        parts = [self._row(row) for row in rows]
        squared, loss, features = zip(*parts, strict=True)
        return RowGradients(
            self_inf=torch.stack(squared),
            loss=torch.stack(loss),
            features=nn.functional.normalize(torch.stack(features), dim=1),
        )

    def _row(self, row: EncodedRow) -> tuple[Tensor, Tensor, Tensor]:
        parameters = list(self.model.parameters())
        frozen = [not p.requires_grad for p in parameters]
        device = parameters[0].device
        ids = torch.tensor([row.input_ids], device=device)
        targets = torch.tensor(row.labels[1:], device=device)
        self.model.requires_grad_(True)
        self.model.zero_grad(set_to_none=True)
        try:
            with torch.enable_grad():
                logits = self.model(input_ids=ids, use_cache=False).logits[0, :-1].float()
                loss = nn.functional.cross_entropy(logits, targets, ignore_index=IGNORE)
                loss.backward()  # type: ignore[no-untyped-call]
            squared = torch.zeros((), dtype=torch.float64, device=device)
            for parameter in parameters:
                if parameter.grad is not None:
                    squared += parameter.grad.double().square().sum()
            return squared.float(), loss.detach(), self._features()
        finally:
            self.model.zero_grad(set_to_none=True)
            for parameter, was_frozen in zip(parameters, frozen, strict=True):
                parameter.requires_grad_(not was_frozen)

    def _features(self) -> Tensor:
        head = self.model.get_output_embeddings()
        blocks: dict[str, Tensor] = {}
        names = {module: name for name, module in self.model.named_modules()}
        for module, name in names.items():
            if not isinstance(module, (nn.Linear, Conv1D, nn.Embedding)) or module.weight.grad is None:
                continue
            if module.weight is head.weight and module is not head:
                continue  # A tied table is one parameter and goes by the head's name, as in the engine.
            gradient = module.weight.grad.float()
            gradient = gradient.T if isinstance(module, Conv1D) else gradient
            left = self.projection.left(name, gradient.shape[0], gradient.device)
            right = self.projection.right(name, gradient.shape[1], gradient.device)
            blocks[name] = (left.T @ gradient @ right).flatten()
        return torch.cat([blocks[name] for name in sorted(blocks)])
