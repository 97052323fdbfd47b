"""Products with matrices blended for every input, a few inputs at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

CHUNK = 6_000_000  # numbers of blended matrices at a time


def blend(x: Tensor, w: Tensor, matrices: Tensor) -> Tensor:
    """Return x_b Σ_t w_bt M_t, (B, N, m), for x (B, N, n), w (B, T) and matrices (T, n, m), contiguous.

    Σ_t w_bt M_t is made for a few inputs at a time and never kept, not even for gradients, which reach x and w alone.
    """
    return _Blend.apply(x, w, matrices)  # type: ignore[return-value]


class _Blend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, matrices: Tensor) -> Tensor:
        ctx.save_for_backward(x, w, matrices)
        y = x.new_empty(*x.shape[:2], matrices.shape[2])
        for rows, blended in _blended(w, matrices):
            torch.bmm(x[rows], blended, out=y[rows])
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        """Return g_b M_bᵀ for x, and ⟨x_bᵀ g_b, M_t⟩ for w."""
        (x, w, matrices), (g,) = ctx.saved_tensors, gradients
        of_x, of_w = torch.empty_like(x), torch.empty_like(w)
        for rows, blended in _blended(w, matrices):
            torch.bmm(g[rows], blended.mT, out=of_x[rows])
            torch.bmm(x[rows].mT, g[rows], out=blended)
            of_w[rows] = torch.bmm(blended.transpose(0, 1), matrices.permute(1, 2, 0)).sum(0)
        return of_x, of_w, None


def _blended(w: Tensor, matrices: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Yield some rows of w (B, T) and their matrices (rows, n, m), in one place that is written over."""
    size = max(1, min(len(w), CHUNK // matrices[0].numel()))
    place = w.new_empty(size, *matrices.shape[1:])
    for start in range(0, len(w), size):
        rows = slice(start, min(start + size, len(w)))
        made = place[: rows.stop - start]
        torch.mm(w[rows], matrices.flatten(1), out=made.flatten(1))
        yield rows, made
