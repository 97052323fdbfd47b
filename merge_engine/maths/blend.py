"""Products with matrices blended for every input, in tiles that stay in the caches of a processor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

INPUTS = 32  # blended together, so that every matrix is read once for all of them
TILE = 2_400_000  # numbers of blended rows at a time


def blend(x: Tensor, w: Tensor, matrices: Tensor) -> Tensor:
    """Return x_b Σ_t w_bt M_t, (B, N, m), for x (B, N, n), w (B, T) and matrices (T, n, m), contiguous.

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
            y[some].baddbmm_(x[some, :, rows], blended)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        """Return Σ_t w_bt g_b M_tᵀ for x, and ⟨x_b, g_b M_tᵀ⟩ for w."""
        (x, w, matrices), (g,) = ctx.saved_tensors, gradients
        of_x, of_w = torch.zeros_like(x), torch.empty_like(w)
        for t, matrix in enumerate(matrices):
            back = g @ matrix.mT
            of_x.addcmul_(back, w[:, t, None, None])
            of_w[:, t] = back.mul_(x).sum((1, 2))
        return of_x, of_w, None


def _tiles(w: Tensor, matrices: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Yield some inputs, some rows of n, and their blend (inputs, rows, m), in one place that is written over."""
    (_, n, m), flat = matrices.shape, matrices.flatten(1)
    size = min(n, max(1, TILE // (min(len(w), INPUTS) * m)))
    place = w.new_empty(min(len(w), INPUTS) * size * m)
    for start in range(0, len(w), INPUTS):
        some = slice(start, min(start + INPUTS, len(w)))
        inputs = some.stop - start
        for first in range(0, n, size):
            rows = slice(first, min(first + size, n))
            parts = flat[:, first * m : rows.stop * m]
            blended = place[: inputs * parts.shape[1]].view(inputs, -1, m)
            torch.mm(w[some], parts, out=blended.flatten(1))
            yield some, rows, blended
