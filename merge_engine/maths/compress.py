"""Making the experts' parts of one tensor smaller: fewer singular components, or fewer entries."""

from __future__ import annotations

import torch
from torch import Tensor

from ..contract import Context
from ..pausing import Pausing, decomposed
from .ops import drop_and_rescale, flat
from .parts import DensePart, LowRankPart, Part, SparsePart
from .svd import Factors


def compressed(
    vectors: Tensor, way: str, share: float, ctx: Context, key: tuple[str, tuple[str, ...]]
) -> Pausing[Part]:
    """Return a part that keeps a share of what the experts have in one tensor, (T, *S); vectors stay whole.

    Axes of size 1 count for nothing where S has more than two, so that a class token is a vector and a position
    embedding a matrix; parts then have S without them.

    `svd` keeps k = kept(share, rank) singular components, `magnitude` the kept(share, entries) largest entries, and
    `bernoulli` every entry with probability `share`, divided by it. `key` are the tensor's name and the tasks, which
    seed the draw.
    """
    if vectors.ndim > 3:
        vectors = vectors.reshape(len(vectors), *(size for size in vectors.shape[1:] if size > 1))
    if vectors.ndim < 3:
        return DensePart(vectors)
    if way == "svd":
        matrices = vectors.flatten(2)
        k = kept(share, min(matrices.shape[1:]))
        found = yield from decomposed(ctx.svd, matrices)
        return LowRankPart(tuple(_copied(factors.top(k)) for factors in found))
    if way == "magnitude":
        return SparsePart.of(vectors, _largest(vectors, kept(share, vectors[0].numel())))
    name, tasks = key
    drawn = [
        drop_and_rescale(vector, share, "inverse", ctx.generator(name, task))
        for vector, task in zip(vectors, tasks, strict=True)
    ]
    return SparsePart.of(torch.stack(drawn), torch.stack(drawn) != 0)


def kept(share: float, count: int) -> int:
    """Return ⌊(1 − (1 − share)) · count⌋, in the floating-point order of the published code.

    Its parameter is the share to drop, so that 0.1 of 20 is 1: 1 − 0.9 is a little less than 0.1.
    """
    return int((1 - (1 - share)) * count)


def _largest(vectors: Tensor, k: int) -> Tensor:
    """Return where the k largest magnitudes of every expert stand, boolean (T, *S)."""
    rows = flat(vectors).abs()
    chosen = torch.zeros_like(rows, dtype=torch.bool)
    return chosen.scatter_(1, rows.topk(k, dim=1).indices, True).view_as(vectors)


def _copied(factors: Factors) -> Factors:
    """Let go of the components that are not kept."""
    return Factors(*(part.clone() for part in factors))
