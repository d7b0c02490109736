"""Simulated probes whose truth is known: prompts differ, seeds differ, and every answer has a chance of its own.

A prompt's chance of an outcome is logistic in ``base + spread·N(0,1)`` before, and after training it moves by
``shift + seed_sd·N(0,1)`` for the seed and ``noise·N(0,1)`` for each prompt and seed.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(61)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


@dataclass(frozen=True)
class World:
    base: float
    spread: float
    shift: float = 0.0
    seed_sd: float = 0.0
    noise: float = 0.0

    def before_rate(self) -> float:
        return float(_WEIGHTS @ expit(self.base + self.spread * _NODES))

    def after_rate(self, seed: float | None = None) -> float:
        """Mean over prompts, and over seeds unless the seed's own effect is given."""
        sd = np.hypot(self.noise, self.seed_sd if seed is None else 0.0)
        middle = self.base + self.shift + (seed or 0.0)
        grid = expit(middle + self.spread * _NODES[:, None] + sd * _NODES[None, :])
        return float(_WEIGHTS @ grid @ _WEIGHTS)

    def change(self) -> float:
        return self.after_rate() - self.before_rate()

    def change_of(self, seeds: np.ndarray) -> np.ndarray:
        """True change for the very seeds that were drawn, [R, S] -> [R]."""
        grid = np.linspace(seeds.min() - 1e-6, seeds.max() + 1e-6, 41)
        rates = np.array([self.after_rate(seed) for seed in grid])
        return np.interp(seeds, grid, rates).mean(-1) - self.before_rate()

    def changed_by(self, change: float) -> "World":
        """The same world with this true change."""
        root = brentq(lambda shift: replace(self, shift=shift).change() - change, -30, 30)
        return replace(self, shift=root)

    def draw(self, rng: np.random.Generator, r: int, s: int, n: int):
        """Chances before [R, N] and after [R, S, N], and the seeds' effects [R, S]."""
        prompts = self.base + self.spread * rng.standard_normal((r, n))
        seeds = self.seed_sd * rng.standard_normal((r, s))
        noise = self.noise * rng.standard_normal((r, s, n)) if self.noise else 0.0
        return expit(prompts), expit(prompts[:, None, :] + self.shift + seeds[:, :, None] + noise), seeds


def three_outcomes(rng: np.random.Generator, first: World, second: World, r: int, s: int, n: int):
    """Draw whether each answer has the first outcome, else the second: bool before [R, N], after [R, S, N]."""
    p1, q1, _ = first.draw(rng, r, s, n)
    p2, q2, _ = second.draw(rng, r, s, n)
    before = rng.random(p1.shape) < p1
    after = rng.random(q1.shape) < q1
    return (before, ~before & (rng.random(p2.shape) < p2)), (after, ~after & (rng.random(q2.shape) < q2))
