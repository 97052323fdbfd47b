"""Mahalanobis distance to the mean of support features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..hp import hp
from ..maths.spectral import definite
from ..maths.svd import decompose
from ._support import SupportRouter


@dataclass(frozen=True)
class Mahalanobis(SupportRouter):
    """Score a task by the Gaussian log-likelihood of its support features, up to a constant.

        S = (1/N) Σ c cᵀ,  Σ = (1 − α) S + α (tr S / d) I
        score_t = −(z − μ_t)ᵀ Σ⁻¹ (z − μ_t) − log det Σ

    References
    ----------
    Lee, Lee, Lee, Shin, A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial
    Attacks, NeurIPS 2018, arXiv:1807.03888 (Gaussian discriminant on features); Ledoit, Wolf, 2004 (shrinkage).

    Notes
    -----
    By default one covariance is shared by all tasks: the scatter of all support features around their own task's mean,
    divided by their number. `covariance="task"` fits one per task. With fewer inputs than dimensions the covariance is
    singular, so shrinkage towards a multiple of the identity is needed; α is our choice. Kept and inverted as low rank
    plus a multiple of the identity, so nothing of size d × d is made.
    """

    title: ClassVar[str] = "Mahalanobis distance"
    idea: ClassVar[str] = "Choose the task whose mean is nearest, measured in units of the features' spread."
    formula: ClassVar[str] = "score = −(z − μₜ)ᵀ Σ⁻¹ (z − μₜ) − log det Σ"
    paper: ClassVar[str] = "Lee et al., Out-of-Distribution Samples, NeurIPS 2018, arXiv:1807.03888"

    covariance: str = hp("shared", "One covariance for all tasks, or one for each.", choices=("shared", "task"))
    shrinkage: float = hp(
        0.1, "Share of the identity in the covariance.", low=1e-6, high=1, soft=(0.01, 1), step=0.01, symbol="α"
    )

    def scorer(self, support: Sequence[Tensor]) -> Gaussians:
        means = torch.stack([z.mean(0) for z in support])
        rows = [z - mean for z, mean in zip(support, means, strict=True)]
        pooled = [torch.cat(rows)] if self.covariance == "shared" else rows
        return Gaussians(means, tuple(self._spread(c) for c in pooled))

    def _spread(self, rows: Tensor) -> Spread:
        count, d = rows.shape
        factors = definite(decompose(rows))
        variance = factors.s.to(rows).square() / count
        floor = self.shrinkage * float(variance.sum()) / d or 1.0  # all inputs alike: plain distance
        return Spread(factors.Vh.to(rows), (1 - self.shrinkage) * variance, floor)


@dataclass(frozen=True)
class Spread:
    """A covariance V diag(v) Vᵀ + floor · I with orthonormal rows Vᵀ (k, d)."""

    directions: Tensor
    variance: Tensor
    floor: float

    def distance(self, c: Tensor) -> Tensor:
        """Return cᵀ Σ⁻¹ c + log det Σ of rows (…, d).

        Σ⁻¹ = (I − V diag(v / (v + floor)) Vᵀ) / floor
        """
        v = self.variance.to(c)
        along = (c @ self.directions.to(c).T).square() @ (v / (v + self.floor))
        squares = (c.square().sum(-1) - along) / self.floor
        flat = torch.tensor(self.floor, dtype=c.dtype, device=c.device).log() * c.shape[-1]
        return squares + (v / self.floor).log1p().sum() + flat


@dataclass(frozen=True)
class Gaussians:
    """Means (T, d), and the covariance of all of them or one of each."""

    centre: Tensor
    spreads: tuple[Spread, ...]

    def __call__(self, z: Tensor) -> Tensor:
        c = z.unsqueeze(1) - self.centre.to(z)
        if len(self.spreads) == 1:
            return -self.spreads[0].distance(c)
        return -torch.stack([own.distance(c[:, t]) for t, own in enumerate(self.spreads)], dim=1)

    @property
    def stored_parameters(self) -> float:
        kept = sum(s.directions.numel() + s.variance.numel() + 1 for s in self.spreads)
        return float(self.centre.numel() + kept)
