"""Exact per-row squared gradient norms over all parameters, and projected features, in one batched backward.

Weights are frozen, so autograd computes gradients of activations only; each module's share of ‖∇θ ℓ‖² follows in a
hook from its input A [T, d] and the gradient at its output B [T, p] (the weight's gradient is BᵀA, the bias's Σₜ B).
The row-by-row oracle is `core.exact_loop`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from core.encoding import IGNORE, EncodedRow
from core.errors import UserError
from core.i18n import N_
from core.projection import Projection

UNKNOWN_MODULE = N_(
    "The gradient engine does not know the module {name} ({kind}). Score with --exact-loop (slower) instead."
)
LOGITS_DIFFER = N_(
    "The model {kind} changes its logits in a way that the gradient engine does not know. "
    "Score with --exact-loop (slower) instead."
)


@dataclass(frozen=True)
class RowGradients:
    """What one backward says about n rows.

    Parameters
    ----------
    self_inf : Tensor, [n]
        ‖∇θ ℓ‖², float32; ℓ is the mean cross-entropy (nats) over the supervised tokens.
    loss : Tensor, [n]
        ℓ.
    features : Tensor, [n, f]
        Projected gradients of the weight matrices, unit length.
    """

    self_inf: Tensor
    loss: Tensor
    features: Tensor


@dataclass
class _Activation:
    """An input that several modules may share (q, k, v), with its Gram matrix made once."""

    origin: Tensor
    gram: Tensor | None = None

    @property
    def value(self) -> Tensor:
        return self.origin.detach()

    def gram_matrix(self) -> Tensor:
        if self.gram is None:
            self.gram = self.value @ self.value.transpose(1, 2)
        return self.gram


class GradientEngine:
    """Per-row gradient norms of a dense causal language model.

    Parameters
    ----------
    model : PreTrainedModel
        Frozen, in eval mode, adapters merged.
    projection : Projection, optional
        How features are made.

    Raises
    ------
    UserError
        When a module with parameters is of a kind that the engine does not know, or the model transforms its logits
        in an unknown way. Both name the ``--exact-loop`` way out.
    """

    def __init__(self, model: Any, projection: Projection | None = None) -> None:
        self.model = model
        self.projection = projection or Projection()
        self.head: nn.Linear = model.get_output_embeddings()
        self.tokens: nn.Embedding = model.get_input_embeddings()
        self.tied = self.head.weight is self.tokens.weight
        self.cap: float | None = getattr(model.config, "final_logit_softcapping", None)
        self.names = {module: name for name, module in model.named_modules() if module._parameters}
        self._check_kinds()
        self._check_logits()

    @torch.enable_grad()
    def score(self, rows: Sequence[EncodedRow], padding_side: str = "right") -> RowGradients:
        """Score rows in one batch.

        Parameters
        ----------
        rows : sequence of EncodedRow, n
            Rows of similar length, for little padding.
        padding_side : {"right", "left"}
            Changes nothing but the rounding; right is the faster.
        """
        self._pass = _Pass(len(rows), self.tokens.weight.device)
        ids, labels, mask = pad(rows, padding_side, self.tokens.weight.device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        handles = [module.register_forward_hook(self._forward_hook) for module in self.names if module is not self.head]
        try:
            hidden = self.model.base_model(
                input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False
            ).last_hidden_state
            seed = self._head(hidden.detach(), ids, labels)
            hidden.backward(seed)
        finally:
            for handle in handles:
                handle.remove()
        self._embeddings(ids, mask)
        result = self._pass
        del self._pass
        blocks = [result.features[name].flatten(1) for name in sorted(result.features)]
        return RowGradients(
            self_inf=result.squared.float(),
            loss=result.loss,
            features=nn.functional.normalize(torch.cat(blocks, dim=1), dim=1),
        )

    def _check_kinds(self) -> None:
        owners: dict[int, str] = {}
        for module, name in self.names.items():
            known = isinstance(module, (nn.Linear, Conv1D, nn.LayerNorm)) or _is_rms_norm(module)
            known = known or (isinstance(module, nn.Embedding) and module.max_norm is None)
            for parameter in filter(lambda p: p is not None, module._parameters.values()):
                shared = owners.setdefault(id(parameter), name) != name
                known = known and (not shared or module is self.head)
            if not known:
                raise UserError(UNKNOWN_MODULE, name=name, kind=type(module).__name__)

    @torch.no_grad()
    def _check_logits(self) -> None:
        """Compare the head as the engine computes it with the model's own logits on a few tokens."""
        ids = torch.arange(8, device=self.tokens.weight.device).remainder(self.tokens.num_embeddings)[None]
        full = self.model(input_ids=ids, use_cache=False).logits.float()
        hidden = self.model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        ours = self._capped(self.head(hidden).float())
        if not torch.allclose(full, ours, rtol=1e-3, atol=1e-3 * float(full.abs().max())):
            raise UserError(LOGITS_DIFFER, kind=type(self.model).__name__)

    def _capped(self, logits: Tensor) -> Tensor:
        return logits if self.cap is None else self.cap * torch.tanh(logits / self.cap)

    def _forward_hook(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
        name = self.names[module]
        if name in self._pass.seen or not args:
            # A module used twice has one gradient, the sum over its uses; hooks would square the parts.
            raise UserError(UNKNOWN_MODULE, name=name, kind=type(module).__name__)
        self._pass.seen.add(name)
        if isinstance(module, nn.Embedding):
            # A fresh leaf: backward stops here, its gradient is the embedding's output gradient.
            leaf = output.detach().requires_grad_(True)
            self._pass.leaves[name] = (module, args[0], leaf)
            return leaf
        activation = self._pass.share(args[0])
        output.register_hook(lambda grad: self._module(module, name, activation, grad.detach()))  # type: ignore[no-untyped-call]
        return None

    @torch.no_grad()
    def _module(self, module: nn.Module, name: str, activation: _Activation, grad: Tensor) -> None:
        if isinstance(module, (nn.Linear, Conv1D)):
            value = activation.value
            self._pass.squared += _squared_norms(activation, grad)
            self._pass.features[name] = self.projection.two_sided(name, grad, value)
            if module.bias is not None:
                self._pass.squared += grad.sum(1).double().square().sum(1)
            return
        # Norms: the weight's gradient is Σₜ gradient ∘ normalised input (zero-centred weights included).
        outer = tuple(range(1, grad.dim() - 1))
        if module.weight is not None:
            normalised = _normalised(module, activation.value)
            self._pass.squared += (grad * normalised).sum(outer).double().square().sum(1)
        if getattr(module, "bias", None) is not None:
            self._pass.squared += grad.sum(outer).double().square().sum(1)

    @torch.no_grad()
    def _head(self, hidden: Tensor, ids: Tensor, labels: Tensor) -> Tensor:
        """Loss and the head's share, row by row at supervised positions; returns ∂ℓ/∂hidden."""
        seed = torch.zeros_like(hidden)
        name = self.names[self.head]
        features = []
        for i in range(len(hidden)):
            at = torch.nonzero(labels[i, 1:] != IGNORE).squeeze(1)
            targets, h = labels[i, 1:][at], hidden[i, at]
            raw = self.head(h).float()
            logits = self._capped(raw)
            log_p = torch.log_softmax(logits, dim=-1)
            self._pass.loss[i] = -log_p.gather(1, targets[:, None]).mean()
            delta = log_p.exp_()
            delta[torch.arange(len(at)), targets] -= 1
            delta /= len(at)
            if self.cap is not None:
                delta *= 1 - (logits / self.cap).square()
            seed[i, at] = (delta @ self.head.weight.float()).to(seed.dtype)
            self._pass.squared[i] += _squared_norms(_Activation(h[None]), delta[None])[0]
            if self.head.bias is not None:
                self._pass.squared[i] += delta.sum(0).double().square().sum()
            features.append(self.projection.two_sided(name, delta, h))
            if self.tied:
                # δ at this row's own input tokens, for the cross term 2⟨G_in, G_out⟩.
                self._pass.tied.append(h.T @ delta[:, ids[i]])
        self._pass.features[name] = torch.stack(features)
        return seed

    @torch.no_grad()
    def _embeddings(self, ids: Tensor, mask: Tensor) -> None:
        for name, (module, index, leaf) in self._pass.leaves.items():
            if leaf.grad is None:
                continue
            if len(index) != len(ids):
                # One lookup for the whole batch: its gradient is already mixed over rows.
                raise UserError(UNKNOWN_MODULE, name=name, kind=type(module).__name__)
            scale = torch.as_tensor(getattr(module, "embed_scale", 1.0), device=leaf.device)
            grads = leaf.grad * scale * mask[..., None]
            if module.padding_idx is not None:
                # torch never trains this row of the table, wherever the token stands.
                grads = grads * (index != module.padding_idx)[..., None]
            tied = module is self.tokens and self.tied
            weight = self.names[self.head] if tied else name
            left = self.projection.left(weight, module.num_embeddings, leaf.device)[index]
            feature = left.transpose(1, 2) @ (grads @ self.projection.right(weight, grads.shape[-1], leaf.device))
            for i in range(len(index)):
                unique, inverse = torch.unique(index[i], return_inverse=True)
                summed = grads.new_zeros(len(unique), grads.shape[-1]).index_add_(0, inverse, grads[i])
                self._pass.squared[i] += summed.double().square().sum()
                if tied:
                    self._pass.squared[i] += 2 * (grads[i] * self._pass.tied[i].T).double().sum()
            known = self._pass.features.get(weight)
            self._pass.features[weight] = feature if known is None else known + feature


class _Pass:
    """What the hooks of one backward collect."""

    def __init__(self, n: int, device: torch.device) -> None:
        self.squared = torch.zeros(n, dtype=torch.float64, device=device)
        self.loss = torch.zeros(n, device=device)
        self.features: dict[str, Tensor] = {}
        self.leaves: dict[str, tuple[nn.Embedding, Tensor, Tensor]] = {}
        self.tied: list[Tensor] = []
        self.seen: set[str] = set()
        self._shared: dict[int, _Activation] = {}

    def share(self, value: Tensor) -> _Activation:
        # Keyed by identity; the activation holds the tensor, so its id is not used again within the pass.
        return self._shared.setdefault(id(value), _Activation(value))


def pad(
    rows: Sequence[EncodedRow], side: str = "right", device: torch.device | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Pad rows to one length.

    Returns
    -------
    ids, labels, mask : Tensor, [n, T]
        Padding is token 0, label -100, mask 0.
    """
    width = max(len(row.input_ids) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    labels = torch.full((len(rows), width), IGNORE)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for i, row in enumerate(rows):
        n = len(row.input_ids)
        at = slice(0, n) if side == "right" else slice(width - n, width)
        ids[i, at], labels[i, at], mask[i, at] = torch.tensor(row.input_ids), torch.tensor(row.labels), 1
    return ids.to(device), labels.to(device), mask.to(device)


def _squared_norms(activation: _Activation, grad: Tensor) -> Tensor:
    """‖BᵀA‖² per row [n], in whichever of the two forms costs less for this length."""
    value = activation.value
    t, d, p = value.shape[1], value.shape[2], grad.shape[2]
    gram_cost = t * (p + (0 if activation.gram is not None else d))
    if gram_cost < p * d:
        return (activation.gram_matrix() * (grad @ grad.transpose(1, 2))).sum((1, 2), dtype=torch.float64)
    return torch.stack([(b.T @ a).square().sum(dtype=torch.float64) for a, b in zip(value, grad, strict=True)])


def _is_rms_norm(module: nn.Module) -> bool:
    return re.search(r"RMSNorm$", type(module).__name__) is not None and list(module._parameters) == ["weight"]


def _normalised(module: nn.Module, value: Tensor) -> Tensor:
    value = value.float()
    if isinstance(module, nn.LayerNorm):
        return nn.functional.layer_norm(value, module.normalized_shape, eps=module.eps)
    eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    if eps is None:
        eps = torch.finfo(value.dtype).eps
    return value * torch.rsqrt(value.square().mean(-1, keepdim=True) + eps)
