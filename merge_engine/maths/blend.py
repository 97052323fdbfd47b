"""Products with matrices blended for every input, in tiles that stay in the caches of a processor."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

INPUTS = 32  # blended together, so that every matrix is read once for all of them
TILE = 1_600_000  # numbers of blended rows at a time


def blend(x: Tensor, w: Tensor, matrices: Tensor) -> Tensor:
    """Return x_b Σ_t w_bt M_t, (B, N, m), for x (B, N, n), w (B, T) and matrices (n, T, m), row by row of all experts.

    Σ_t w_bt M_t is made for some rows of some inputs at a time and never kept; gradients, which reach x and w alone,
    go through the experts one by one.
    """
    return _Blend.apply(x, w, matrices)  # type: ignore[return-value]


class _Blend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, matrices: Tensor) -> Tensor:
        ctx.save_for_backward(x, w, matrices)
        y = x.new_zeros(*x.shape[:2], matrices.shape[2])
        for some, rows, blended in _tiles(w, matrices):
            y[some].baddbmm_(x[some, :, rows], blended.transpose(0, 1))
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        """Return Σ_t w_bt g_b M_tᵀ for x, and ⟨x_b, g_b M_tᵀ⟩ for w."""
        (x, w, matrices), (g,) = ctx.saved_tensors, gradients
        of_x, of_w = torch.zeros_like(x), torch.empty_like(w)
        for t, matrix in enumerate(matrices.unbind(1)):
            back = g @ matrix.mT
            of_x.addcmul_(back, w[:, t, None, None])
            of_w[:, t] = back.mul_(x).sum((1, 2))
        return of_x, of_w, None


def _tiles(w: Tensor, matrices: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield some inputs, some rows of n, and their blend (rows, inputs, m), in one place that is written over."""
    n, _, m = matrices.shape
    size = min(n, max(1, TILE // (min(len(w), INPUTS) * m)))
    place = w.new_empty(min(len(w), INPUTS) * size * m)
    for first in range(0, len(w), INPUTS):
        some = slice(first, min(first + INPUTS, len(w)))
        for row in range(0, n, size):
            rows = slice(row, min(row + size, n))
            shape = (rows.stop - row, some.stop - first, m)
            blended = place[: math.prod(shape)].view(shape)
            yield some, rows, torch.matmul(w[some], matrices[rows], out=blended)
