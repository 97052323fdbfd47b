"""How fast this machine is, measured once: a forward pass in both precisions, and one decomposition."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ..maths.svd import decompose
from ..problem import MATRIX_KINDS
from ..suite import Suite
from ..weights import in_memory

PICTURES = 16
TIMES = 3  # the fastest counts: whatever else runs only makes them slower


@dataclass(frozen=True)
class Calibration:
    """Seconds here of one pass of one input through a suite's backbone, in float32 and in the page's precision.

    `svd` are the seconds of decomposing a matrix of m x n, k = min(m, n), divided by `svd_work(m, n)`.
    """

    plain: float
    live: float
    svd: float

    def faster(self, other: Calibration) -> Calibration:
        """Return the faster of both in everything: what else ran can only have made one of them slower."""
        return Calibration(min(self.plain, other.plain), min(self.live, other.live), min(self.svd, other.svd))


def calibrate(suite: Suite, dtype: torch.dtype, clock: Callable[[], float] = time.perf_counter) -> Calibration:
    """Time one forward of a few inputs in float32 and in `dtype`, and the SVD of the largest matrix of a block."""
    inputs = suite.prepared(next(iter(suite.tasks)), "score")[:PICTURES]

    def forward(precision: torch.dtype) -> float:
        weights = in_memory(suite.pretrained_in_memory, suite.device, precision)
        given = inputs.to(precision) if inputs.is_floating_point() else inputs
        return _fastest(lambda: suite.features(weights, given).cpu(), clock) / len(inputs)

    plain = forward(torch.float32)
    live = plain if dtype == torch.float32 else forward(dtype)
    matrix = max(matrices(suite), key=torch.Tensor.numel).to(suite.device)
    return Calibration(plain, live, _fastest(lambda: decompose(matrix), clock, 1) / svd_work(*matrix.shape))


def matrices(suite: Suite) -> list[torch.Tensor]:
    """Return the matrices of the pretrained model's blocks."""
    place, weights = suite.backbone.place, suite.pretrained_in_memory
    return [w for name, w in weights.items() if place(name).kind in MATRIX_KINDS and w.ndim == 2]


def svd_work(m: int, n: int) -> float:
    """Return what a decomposition costs, up to a constant: the Gram matrix, its eigenvectors, and the long side."""
    k = min(m, n)
    return 4.0 * m * n * k + 10.0 * k**3


def _fastest(work: Callable[[], object], clock: Callable[[], float], times: int = TIMES) -> float:
    taken = []
    with torch.inference_mode():
        work()
        for _ in range(times):
            start = clock()
            work()
            taken.append(clock() - start)
    return min(taken)
