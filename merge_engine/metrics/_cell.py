"""One tensor of a problem as measurements see it: task vectors, inner products, singular components."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..contract import Context
from ..maths import ops
from ..maths.svd import FLOOR, Factors, decompose
from ..merged import StaticMerged
from ..problem import TensorGroup

CHUNK = 1 << 22


@dataclass(frozen=True)
class Cell:
    """One tensor: the pretrained one, the task vectors of the experts and, where `merged` is one of `count` models,
    the merged task vector after them."""

    group: TensorGroup
    ctx: Context
    merged: StaticMerged | None = None
    count: int = 0

    @property
    def tasks(self) -> int:
        """Number of experts T."""
        return len(self.group.tasks)

    @cached_property
    def deltas(self) -> Tensor:
        """Task vectors of all models, (M, *S) float32."""
        vectors = self.group.task_vectors
        return vectors if self.count == self.tasks else torch.cat([vectors, self.merged_delta.unsqueeze(0)])

    @cached_property
    def merged_delta(self) -> Tensor:
        """Merged task vector, S; zero for a tensor the merge left alone."""
        assert self.merged is not None
        known = self.group.name in self.merged.direction
        blank = torch.zeros_like(self.group.pretrained)
        return self.merged.task_vector(self.group.name).to(blank) if known else blank

    @cached_property
    def flat(self) -> Tensor:
        """Task vectors as rows, (M, entries)."""
        return ops.flat(self.deltas)

    @cached_property
    def gram(self) -> Tensor:
        """Inner products of the task vectors, (M, M), accumulated in float64."""
        pieces = (piece.double() for piece in self.flat.split(CHUNK, 1))
        return torch.stack([piece @ piece.T for piece in pieces]).sum(0)

    @cached_property
    def factors(self) -> tuple[Factors, ...]:
        """Singular components of all models; the experts' come from the store."""
        found = tuple(self.ctx.svd(delta) for delta in self.deltas[: self.tasks])
        return found if self.count == self.tasks else (*found, self.merged_factors)

    @cached_property
    def merged_factors(self) -> Factors:
        """Singular components of the merged task vector."""
        assert self.merged is not None
        if self.group.name not in self.merged.direction:
            return decompose(self.merged_delta)
        return self.merged.factors(self.group.name, lambda matrix: self.ctx.svd(matrix.to(self.group.pretrained)))

    @cached_property
    def spectra(self) -> Tensor:
        """Singular values, (M, r) float64, with what is only rounding set to zero."""
        return torch.stack([numerical(f.s) for f in self.factors])


def numerical(s: Tensor) -> Tensor:
    """Return singular values in float64 with those below 1e-7 of the largest set to zero."""
    s = s.double()
    return torch.where(s > FLOOR * s[:1], s, torch.zeros_like(s))


def sharpened(U: Tensor) -> Tensor:
    """Return float32 orthonormal columns in float64, their rounding removed by one Newton–Schulz step."""
    U = U.double()
    return U @ (1.5 * torch.eye(U.shape[1], dtype=U.dtype, device=U.device) - 0.5 * U.T @ U)
