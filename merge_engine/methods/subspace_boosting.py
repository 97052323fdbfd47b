"""Subspace Boosting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..contract import Context
from ..hp import hp
from ..maths import spectral
from ..merged import StaticMerged
from ..problem import Groups, TensorGroup
from ..tensorwise import PostStep


@dataclass(frozen=True)
class SubspaceBoosting(PostStep):
    """Raise the weak singular values of the merged matrix to a level that its strongest ones set.

        D = U diag(s) Vᵀ,  k = first index with Σ_{i≤k} s_i ≥ β Σ_i s_i,  s_i ← s_k for i > k

    References
    ----------
    Skorobogat, Roth, Georgescu, Subspace-Boosted Model Merging, arXiv:2506.16506.

    Notes
    -----
    q, k and v apart. The share is of singular values, not of their squares. β → 0 makes the spectrum flat at s_1.
    Directions below 1e-6 of the largest are arbitrary and stay out.
    """

    title: ClassVar[str] = "Subspace Boosting"
    family: ClassVar[str] = "Post-steps"
    idea: ClassVar[str] = (
        "Lift the weak directions of the merged task vector, which merging many experts lets collapse."
    )
    formula: ClassVar[str] = "sᵢ ← sₖ for i > k\nk = min{j : Σ_{i≤j} sᵢ ≥ β Σᵢ sᵢ}"
    paper: ClassVar[str] = "Skorobogat et al., Subspace-Boosted Model Merging, arXiv:2506.16506"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"failure": {"beta": 1.0}}
    lesson: ClassVar[str] = (
        "The weakest direction sets the level, so none is lifted: this is the merge before it, and all that boosting "
        "gains is gone."
    )

    beta: float = hp(0.01, "Share of the sum of singular values that sets the level.", low=0, high=1, soft=(0, 0.5),
                     step=0.01, symbol="β", sweep=(0.0, 0.01, 0.02, 0.05, 0.1, 0.2))  # fmt: skip
    embeddings: str = hp(
        "unchanged",
        "Matrices outside the blocks: unchanged, or boosted too.",
        choices={
            "unchanged": "matrices outside the blocks stay unchanged",
            "spectral": "matrices outside the blocks are boosted too",
        },
    )

    def prepare(self, groups: Groups, merged: StaticMerged, ctx: Context) -> StaticMerged:
        return merged

    def decomposes(self) -> str:
        return "merged"

    def change(self, delta: Tensor, group: TensorGroup, ctx: Context, state: StaticMerged) -> Tensor:
        outside = delta.ndim == 2 and self.embeddings == "spectral"
        if not (group.is_matrix or outside):
            return delta
        U, s, Vh = spectral.definite(state.factors(group.name, ctx.svd))
        return (U * boosted(s, self.beta)) @ Vh


def boosted(s: Tensor, beta: float) -> Tensor:
    """Return max(s, s_k), s (r,) descending and k the first index at which the running sum reaches its share."""
    if not len(s):
        return s
    running = s.double().cumsum(0)
    k = int((running < beta * running[-1]).sum())
    return torch.maximum(s, s[k])
