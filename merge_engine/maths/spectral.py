"""Verbs of the spectral methods: components that count, orthogonal factors, and what happens to other tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..hp import hp
from ..problem import TensorGroup
from .svd import Factors, polar

FLOOR = 1e-6


def attention() -> Any:
    """Declare the reserved field `attention`."""
    return hp(
        "split",
        "Decompose q, k and v apart, or fused into one matrix of three times the rows as OpenCLIP stores them; "
        "the fused form has one rank budget for all three.",
        choices={
            "split": "q, k and v are decomposed apart; codes for OpenCLIP fuse them",
            "fused": "q, k and v are decomposed as one matrix, as in codes for OpenCLIP",
        },
        always=True,
    )


def rank_rule(kept: str = "SVDₖ", *, when: tuple[str, tuple[str, ...]] | None = None) -> Any:
    """Declare how the share ρ of `leading` is counted; `kept` names in the formula what has that share."""
    return hp(
        "fraction", "Number of components: a share of the rank, or the fewest that hold a share of the energy.",
        choices={
            "fraction": f"{kept} keeps the share ρ of the rank, rounded down",
            "energy": f"{kept} keeps the fewest components that hold the share ρ of the squared singular values",
        },
        when=when,
    )  # fmt: skip


def other_tensors(default: str = "mean") -> Any:
    """Declare the policy for biases, norms, convolutions and other tensors that are not matrices."""
    return hp(
        default,
        "Tensors that are not matrices: mean or sum of the task vectors, or left as pretrained.",
        choices={
            "mean": "tensors that are not matrices are averaged",
            "sum": "task vectors of tensors that are not matrices are added up",
            "pretrained": "tensors that are not matrices stay pretrained",
        },
    )


def embeddings() -> Any:
    """Declare the policy for matrices outside the blocks."""
    return hp(
        "mean",
        "Matrices outside the blocks, such as position embeddings: mean of the task vectors, spectral as the "
        "official code does with every 2-D tensor, or left as pretrained.",
        choices={
            "mean": "matrices outside the blocks are averaged; the official code treats them like the others",
            "spectral": "matrices outside the blocks are treated like the others, as in the official code",
            "pretrained": "matrices outside the blocks stay pretrained; the official code treats them like the others",
        },
        always=True,
    )


def untreated(group: TensorGroup, vectors: Tensor, others: str, embedded: str = "") -> Tensor | None:
    """Return what the policies make of task vectors (T, *S), shape S, or None where the method itself applies.

    Block matrices are always the method's. Other 2-D tensors follow `embedded`, the rest `others`; a policy other
    than mean, sum and pretrained stands for the method.
    """
    if group.is_matrix:
        return None
    policy = embedded or others if group.pretrained.ndim == 2 else others
    if policy == "pretrained":
        return torch.zeros_like(group.pretrained)
    if policy == "sum":
        return vectors.sum(0)
    return vectors.mean(0) if policy == "mean" else None


def centred(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Return τ_t − mean τ, (T, *S), and mean τ, S. It equals θ_t − θ_avg, without θ_0's rounding."""
    mean = vectors.mean(0)
    return vectors - mean, mean


def definite(factors: Factors, largest: float | None = None) -> Factors:
    """Drop components with |s| below 1e-6 of `largest` (of the largest |s|): their directions are arbitrary."""
    size = factors.s.abs()
    if not size.numel():
        return factors
    keep = size > FLOOR * (size.max() if largest is None else largest)
    return factors if keep.all() else Factors(factors.U[:, keep], factors.s[keep], factors.Vh[keep])


def leading(factors: Factors, rank: float, rule: str = "fraction") -> Factors:
    """Return the components that CART keeps, at least one unless `rank` is 0.

    That share of the rank, rounded down, or the fewest that hold that share of the energy Σ s².
    """
    if rank == 0:
        return factors.top(0)
    if rule == "fraction":
        return factors.top(max(1, int(rank * len(factors.s))))
    energy = factors.s.double().square().cumsum(0)
    return factors.top(1 + int((energy < rank * energy[-1]).sum()))


def joined(parts: Sequence[Factors]) -> Factors:
    """Set components side by side: U (m, K), s (K,), Vh (K, n) with K the number of all of them."""
    return Factors(
        torch.cat([part.U for part in parts], 1),
        torch.cat([part.s for part in parts]),
        torch.cat([part.Vh for part in parts]),
    )


def orthogonalised(parts: Sequence[Factors]) -> tuple[Factors, bool]:
    """Return polar([U_1 … U_T]), all s, polar([V_1 … V_T])ᵀ, and whether a concatenation lacked full rank.

    Without full column rank the polar factor is not unique; the partial isometry drops singular values of the
    concatenation below 1e-6 of the largest instead of completing them with invented directions.
    """
    U, s, Vh = joined(parts)
    if not len(s):
        return Factors(U, s, Vh), False
    left, right = polar(U, FLOOR), polar(Vh, FLOOR)
    rank = min(left.square().sum(), right.square().sum())  # |P|_F² counts the unit singular values
    return Factors(left, s, right), bool(rank < len(s) - 0.5)
