"""Two-sided random projection of weight gradients: the gradient features."""

import math
import zlib

import torch
from torch import Tensor

RANK = 4


class Projection:
    """Random matrices L [r, p] and R [r, d] for each weight, made from its name and a seed.

    A gradient G [p, d] becomes L G Rᵀ [r, r]. With entries drawn from N(0, 1/r) inner products are kept on
    average: E⟨L G Rᵀ, L G' Rᵀ⟩ = ⟨G, G'⟩. G itself is never formed: L (BᵀA) Rᵀ = (B Lᵀ)ᵀ (A Rᵀ).

    Parameters
    ----------
    rank : int
        r; each weight gives r² features.
    seed : int
        Same seed, same features, on every device.
    """

    def __init__(self, rank: int = RANK, seed: int = 0) -> None:
        self.rank = rank
        self.seed = seed
        self._cache: dict[tuple[str, str], Tensor] = {}

    def left(self, name: str, size: int, device: torch.device) -> Tensor:
        """Return Lᵀ, [size, r]."""
        return self._matrix(name, "left", size, device)

    def right(self, name: str, size: int, device: torch.device) -> Tensor:
        """Return Rᵀ, [size, r]."""
        return self._matrix(name, "right", size, device)

    def two_sided(self, name: str, outputs: Tensor, inputs: Tensor) -> Tensor:
        """Project Σₜ outputsₜ inputsₜᵀ.

        Parameters
        ----------
        name : str
            The weight's name.
        outputs : Tensor, [..., T, p]
            Gradient at the module's output.
        inputs : Tensor, [..., T, d]
            The module's input.

        Returns
        -------
        Tensor, [..., r, r]
        """
        left = outputs @ self.left(name, outputs.shape[-1], outputs.device)
        right = inputs @ self.right(name, inputs.shape[-1], inputs.device)
        return left.transpose(-1, -2) @ right

    def _matrix(self, name: str, side: str, size: int, device: torch.device) -> Tensor:
        key = (name, side)
        if key not in self._cache:
            generator = torch.Generator().manual_seed(zlib.crc32(f"{self.seed}/{name}/{side}".encode()))
            self._cache[key] = torch.randn(size, self.rank, generator=generator).div_(math.sqrt(self.rank)).to(device)
        return self._cache[key]
