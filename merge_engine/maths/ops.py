"""The papers' verbs as pure functions on stacked task vectors (T, *S), in the order of `TensorGroup.tasks`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

Numbers = tuple[float, ...]
AGREEING = {
    "sum": "values that agree are added up",
    "mean": "values that agree are averaged",
    "max": "the largest of the values that agree is taken",
}
"""The ways of `disjoint_merge`, in words."""


def widest(like: Tensor) -> torch.dtype:
    """Return float64 where the device of `like` has it, else float32 (Apple's has not)."""
    return torch.float32 if like.device.type == "mps" else torch.float64


def per_expert(numbers: Numbers, like: Tensor) -> Tensor:
    """Return one number per expert as (T, 1, ..., 1) beside `like` (T, *S); ones where none was given."""
    filled = torch.tensor(numbers or (1.0,) * len(like), dtype=like.dtype, device=like.device)
    return filled.reshape(-1, *[1] * (like.ndim - 1))


def flat(vectors: Tensor) -> Tensor:
    """Return the task vectors of one tensor as rows, (T, *S) to (T, n)."""
    return vectors.reshape(len(vectors), vectors[0].numel())


def as_rows(vectors: Tensor) -> Tensor:
    """Return (T, *S) as (T, out, rest): one row per output; a tensor below two dimensions is one row."""
    rows = vectors.shape[1] if vectors.ndim > 2 else 1
    return vectors.reshape(len(vectors), rows, vectors[0].numel() // rows)


def kth_largest_magnitude(vectors: Tensor, k: int) -> Tensor:
    """Return the k-th largest |τ_t| within each expert's tensor, (T, *S) to (T,), by selection."""
    magnitudes = flat(vectors).abs()
    place = magnitudes.shape[1] - k
    if magnitudes.device.type == "cpu":  # numpy selects several times faster here
        return torch.from_numpy(np.partition(magnitudes.numpy(), place, axis=1)[:, place].copy())
    return magnitudes.kthvalue(place + 1).values


def trim(vectors: Tensor, low: Tensor, high: Tensor | None = None) -> Tensor:
    """Zero the entries with |τ_t| below `low` or above `high`, one bound per expert (T,); equality stays."""
    magnitudes = flat(vectors).abs()
    keep = magnitudes >= low.unsqueeze(1)
    if high is not None:
        keep &= magnitudes <= high.unsqueeze(1)
    return vectors * keep.view_as(vectors)


def exact_sum(vectors: Tensor) -> Tensor:
    """Return Σ_t τ_t in float64, (T, *S) to S: exact enough for its sign not to depend on the order of experts."""
    total = vectors[0].to(widest(vectors))
    for vector in vectors[1:]:
        total = total + vector
    return total


def elect_sign(vectors: Tensor, majority: Callable[[], float] | None = None) -> Tensor:
    """Return sign(Σ_t τ_t), (T, *S) to S.

    Where the sum is exactly zero although some expert moves, the sign is `majority()`; without one, the sign of
    the sum of the signs in this tensor.
    """
    sign = exact_sum(vectors).sign().to(vectors.dtype)
    contested = (sign == 0) & (vectors.abs().amax(0) > 0)
    if contested.any():
        sign = sign.masked_fill(contested, majority() if majority else float(sign.sum().sign()))
    return sign


def disjoint_merge(
    vectors: Tensor, sign: Tensor, how: str, weights: Numbers = (), divisors: Numbers = ()
) -> Tensor:
    """Merge, entry by entry, the values that have the elected sign, times their expert's weight; (T, *S) to S.

    `sum` adds them, `max` takes the largest, and `mean` divides the sum by how many agree, or by the sum of
    their `divisors`. Where nobody agrees the result is zero. Weights are not negative.
    """
    ones = (1.0,) * len(vectors)
    total = count = torch.zeros_like(sign)
    for vector, weight, divisor in zip(vectors, weights or ones, divisors or ones, strict=True):
        agreeing = (vector * sign).clamp_min(0)
        total = torch.maximum(total, weight * agreeing) if how == "max" else total + weight * agreeing
        count = count + divisor * agreeing.sign()
    return sign * (_ratio(total, count) if how == "mean" else total)


def agreeing(vectors: Tensor, sign: Tensor) -> Tensor:
    """Return the task vectors (T, *S) with zeros where their sign is not the elected one (S)."""
    return torch.where(vectors * sign > 0, vectors, 0.0)


def largest_magnitude(vectors: Tensor) -> Tensor:
    """Return, entry by entry, the value of largest magnitude; among equals the last expert's; (T, *S) to S."""
    best = vectors[0]
    for vector in vectors[1:]:
        best = torch.where(vector.abs() >= best.abs(), vector, best)
    return best


def drop_and_rescale(
    vector: Tensor, keep: Tensor | float, rescale: str, generator: torch.Generator
) -> Tensor:
    """Keep each entry of one task vector (S) with probability `keep` (a number, or S), then rescale.

    `inverse` divides each kept entry by its probability, `l1` restores the sum of magnitudes of the tensor and
    `none` leaves the kept entries as they are.
    """
    kept = torch.rand(vector.shape, generator=generator).to(vector.device) < keep
    if rescale == "inverse":
        return torch.where(kept, vector / keep, 0.0)
    dropped = torch.where(kept, vector, 0.0)
    after = dropped.abs().sum(dtype=widest(vector))
    if rescale == "none" or after == 0:
        return dropped
    return dropped * (vector.abs().sum(dtype=widest(vector)) / after).to(vector.dtype)


def magnitude_ranks(rows: Tensor) -> Tensor:
    """Return the rank of |x| within each row, 0 for the smallest and 1 for the largest; 1/2 in rows of one."""
    order = rows.abs().argsort(dim=-1, stable=True)
    places = torch.arange(rows.shape[-1], dtype=rows.dtype, device=rows.device).expand_as(rows)
    ranks = torch.empty_like(rows).scatter_(-1, order, places)
    return ranks / (rows.shape[-1] - 1) if rows.shape[-1] > 1 else torch.full_like(rows, 0.5)


def min_max(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return (values − low)/(high − low), clamped to [0, 1]; zero where high equals low."""
    return _ratio(values.clamp(low, high) - low, high - low)


def task_masks(vectors: Tensor, merged: Tensor, threshold: Tensor) -> Tensor:
    """Return the TALL masks 1[|τ_t| > λ_t |τ_merged − τ_t|], boolean (T, *S); `threshold` is (T, 1, ..., 1)."""
    return vectors.abs() > threshold * (merged - vectors).abs()


def pairwise_cosines(rows: Tensor) -> Tensor:
    """Return cos(τ_i, τ_j) of every pair of experts for every row, (T, rows, n) to (pairs, rows), in float64.

    From the Gram matrices, so nothing of the size of a pair of task vectors is made; a zero vector is orthogonal.
    """
    vectors = rows.to(widest(rows)).transpose(0, 1)
    gram = vectors @ vectors.mT
    i, j = torch.triu_indices(len(rows), len(rows), 1, device=rows.device)
    squares = gram.diagonal(dim1=-2, dim2=-1)
    return _ratio(gram[:, i, j], squares[:, i].sqrt() * squares[:, j].sqrt()).clamp(-1, 1).T


def slerp(a: Tensor, b: Tensor, t: float, collinear: Callable[[Tensor], Tensor]) -> Tensor:
    """Interpolate spherically along the last axis: [sin((1−t)ω) a + sin(tω) b] / sin ω, cos ω = cos(a, b).

    The straight line where `collinear` says so of the cosine; a zero vector is orthogonal. In float64.
    """
    a, b = a.to(widest(a)), b.to(widest(b))
    norms = a.norm(dim=-1, keepdim=True) * b.norm(dim=-1, keepdim=True)
    cos = _ratio((a * b).sum(-1, keepdim=True), norms).clamp(-1, 1)
    straight = collinear(cos)
    angle = cos.where(~straight, 0.0).acos()
    arc = (((1 - t) * angle).sin() * a + (t * angle).sin() * b) / angle.sin()
    return torch.where(straight, (1 - t) * a + t * b, arc)


def _ratio(over: Tensor, under: Tensor) -> Tensor:
    """Return over/under, zero where `under` is not positive."""
    return torch.where(under > 0, over / under.where(under > 0, 1.0), 0.0)
