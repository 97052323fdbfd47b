"""SiM's router: the distance to a low-rank manifold of every task."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..hp import hp
from ..maths.spectral import definite
from ..maths.svd import decompose
from ._support import SupportRouter, held_out


@dataclass(frozen=True)
class Subspace(SupportRouter):
    """Fit a low-rank manifold to the support features of every task; score by the projection residual.

        Z_t − μ_t = A_t diag(s_t) V_tᵀ,  r_t(z) = ‖c‖² − ‖V_tkᵀ c‖²,  c = z − μ_t,  score = −r_t

    References
    ----------
    Son, Jung, Baik, Training-free Task Classification for Multi-Task Model Merging, arXiv:2606.22589.

    Notes
    -----
    A reconstruction from the abstract; no code is public. Rank is at most N − 1 when centred per task, N otherwise.
    Components of relative size below 1e-6 are left out. A rank by energy differs between tasks, and a task with more
    components removes more of any input: combine it with the calibration, which divides r_t by its mean over the
    task's own support inputs, each left out in turn.
    """

    title: ClassVar[str] = "Subspace residual"
    idea: ClassVar[str] = "Choose the task whose low-rank manifold of features lies nearest."
    formula: ClassVar[str] = "rₜ = ‖c‖² − ‖Vₜₖᵀ c‖², c = z − μₜ"
    paper: ClassVar[str] = "Son et al., Training-free Task Classification, arXiv:2606.22589"

    rank: int = hp(
        16, "Dimensions of every task's manifold.", low=0, high=1024, soft=(0, 32), step=1, symbol="k",
        sweep=(4, 8, 16, 24, 31),
    )  # fmt: skip
    energy: float = hp(
        0.0, "Share of the squared singular values after which a task needs no more dimensions; 0 is no such rule.",
        low=0, high=1, step=0.05, symbol="e",
    )  # fmt: skip
    centring: str = hp(
        "task", "Where a manifold starts: at the task's mean, at the origin, or at the mean of all tasks.",
        choices={
            "task": "μₜ is the mean of the task's own support features",
            "none": "μₜ is zero: nothing is centred",
            "global": "μₜ is the mean of all tasks' support features",
        },
    )  # fmt: skip
    residual: str = hp(
        "squared", "Squared distance to the manifold, or its share of the squared distance to the start.",
        choices={
            "squared": "the squared distance to a manifold decides",
            "relative": "the distance counts as a share of ‖c‖², so that the length of c is forgotten",
        },
    )  # fmt: skip
    calibration: str = hp(
        "none", "Divide by the residual of the task's own support inputs, each left out of the fit in turn.",
        choices={
            "none": "residuals are compared as they are",
            "leave-one-out": "residuals are divided by their mean over the task's own support inputs, each left out",
        },
    )  # fmt: skip

    def scorer(self, support: Sequence[Tensor]) -> Manifolds:
        plain = self.manifolds(support)
        if self.calibration == "none":
            return plain
        own = [scores[:, t] for t, scores in enumerate(held_out(self.manifolds, support))]
        return dataclasses.replace(plain, spread=torch.stack([-found.mean() for found in own]))

    def manifolds(self, support: Sequence[Tensor]) -> Manifolds:
        """Return the manifolds of support features (N, d) by task, without calibration."""
        means = torch.stack([z.mean(0) for z in support])
        centre = {"task": means, "global": means.mean(0, keepdim=True), "none": means.new_zeros(1, 0)}[self.centring]
        starts = centre.expand(len(support), -1) if centre.numel() else torch.zeros_like(means)
        rows = [z - start for z, start in zip(support, starts, strict=True)]
        return Manifolds.of(centre, [self._basis(z) for z in rows], self.residual == "relative")

    def _basis(self, rows: Tensor) -> Tensor:
        """Return orthonormal directions (k, d) of support features that start at zero."""
        most = min(self.rank, len(rows) - (self.centring == "task"), rows.shape[1])
        kept = definite(decompose(rows).top(most))
        if self.energy:
            held = kept.s.double().square().cumsum(0) / rows.square().sum().clamp_min(1e-300)
            kept = kept.top(1 + int((held < self.energy).sum()))
        return kept.Vh.to(rows)


@dataclass(frozen=True)
class Manifolds:
    """Affine manifolds: `centre` (T, d), (1, d) or empty; orthonormal `basis` (T, k, d), zero rows where one has fewer.

    `spread` (T,) divides the residuals.
    """

    centre: Tensor
    basis: Tensor
    ranks: tuple[int, ...]
    relative: bool = False
    spread: Tensor | None = None

    @classmethod
    def of(cls, centre: Tensor, bases: Sequence[Tensor], relative: bool = False) -> Manifolds:
        """Stack bases (k_t, d) of different sizes."""
        ranks = tuple(len(basis) for basis in bases)
        basis = bases[0].new_zeros(len(bases), max(ranks), bases[0].shape[1])
        for t, directions in enumerate(bases):
            basis[t, : len(directions)] = directions
        return cls(centre, basis, ranks, relative)

    def residuals(self, z: Tensor) -> Tensor:
        """Return the squared, or relative, distance of features (B, d) to every manifold, (B, T)."""
        c = z.unsqueeze(1) - self.centre.to(z) if self.centre.numel() else z.unsqueeze(1)
        c = c.expand(-1, len(self.basis), -1)
        length = c.square().sum(-1)
        inside = torch.einsum("btd,tkd->btk", c, self.basis.to(z)).square().sum(-1)
        found = (length - inside).clamp_min(0)
        if self.relative:
            found = torch.where(length > 0, found / length.where(length > 0, 1.0), 0.0)
        return found if self.spread is None else found / self.spread.to(z).clamp_min(1e-12)

    def __call__(self, z: Tensor) -> Tensor:
        return -self.residuals(z)

    @property
    def stored_parameters(self) -> float:
        spread = 0 if self.spread is None else len(self.spread)
        return float(self.centre.numel() + sum(self.ranks) * self.basis.shape[-1] + spread)
