"""Timings on this machine, as ratios of things measured one after the other in one run."""

import time
from collections.abc import Callable, Sequence

import torch

from core.encoding import EncodedRow
from core.exact_loop import ExactLoop
from core.gradients import GradientEngine
from core.models import LoadedModel
from core.scoring import batches


def bench_engine(loaded: LoadedModel, encoded: Sequence[EncodedRow], token_budget: int) -> dict[str, float]:
    """Compare the batched engine with the row-by-row loop and with the matmul limit.

    Returns
    -------
    dict
        ``rows``; ``mean_tokens`` a row; ``engine``, ``exact_loop`` and ``limit`` in input tokens per second (the limit
        is a forward and an input-gradient backward, 4 FLOPs a parameter and token, at this machine's float32 matmul
        speed ``gflops``); ``speedup`` = engine / exact_loop; ``of_limit`` = engine / limit; ``largest_error`` of
        Self-Inf, relative.
    """
    rows = {row.row_id: row for row in encoded}
    tokens = sum(len(row.input_ids) for row in encoded)
    engine, loop = GradientEngine(loaded.model), ExactLoop(loaded.model)
    engine.score(encoded[:1])
    loop.score(encoded[:1])
    ours: dict[int, float] = {}

    def batched() -> None:
        for batch in batches(encoded, token_budget):
            result = engine.score([rows[row_id] for row_id in batch])
            ours.update(zip(batch, result.self_inf.tolist(), strict=True))

    engine_speed = tokens / _seconds(batched)
    exact: list[float] = []
    loop_speed = tokens / _seconds(lambda: exact.extend(loop.score(encoded).self_inf.tolist()))
    gflops = matmul_gflops()
    limit = gflops * 1e9 / (4 * loaded.parameters)
    errors = [abs(ours[row.row_id] - truth) / truth for row, truth in zip(encoded, exact, strict=True)]
    return {
        "rows": len(encoded),
        "mean_tokens": tokens / len(encoded),
        "engine": engine_speed,
        "exact_loop": loop_speed,
        "limit": limit,
        "gflops": gflops,
        "speedup": engine_speed / loop_speed,
        "of_limit": engine_speed / limit,
        "largest_error": max(errors),
    }


def matmul_gflops(size: int = 2048, repeats: int = 10) -> float:
    """Measure float32 matrix multiplication in GFLOP/s."""
    a = torch.randn(size, size)

    def multiply() -> None:
        for _ in range(repeats):
            a @ a

    multiply()
    return repeats * 2 * size**3 / _seconds(multiply) / 1e9


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
