"""The nearest support feature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ._support import SupportRouter


@dataclass(frozen=True)
class NearestNeighbour(SupportRouter):
    """Score a task by the distance to the nearest of its support features.

        score_t = −min_i ‖z − z_ti‖²

    References
    ----------
    Crisostomi et al., MASS: MoErging through Adaptive Subspace Selection, arXiv:2504.05342 (1-NN on embeddings).

    Notes
    -----
    On normalised features this is the largest cosine. It keeps the whole support set.
    """

    title: ClassVar[str] = "Nearest neighbour"
    idea: ClassVar[str] = "Choose the task of the nearest support input."
    formula: ClassVar[str] = "score = −minᵢ ‖z − zₜᵢ‖²"
    paper: ClassVar[str] = "Crisostomi et al., MASS, arXiv:2504.05342"

    def scorer(self, support: Sequence[Tensor]) -> Neighbours:
        return Neighbours(torch.cat(list(support)), tuple(len(z) for z in support))


@dataclass(frozen=True)
class Neighbours:
    """The support features of all tasks one after the other, (ΣN, d), and how many each task has."""

    kept: Tensor
    counts: tuple[int, ...]

    def __call__(self, z: Tensor) -> Tensor:
        kept = self.kept.to(z)
        squares = z.square().sum(1, keepdim=True) + kept.square().sum(1) - 2 * z @ kept.T
        return -torch.stack([own.amin(1) for own in squares.clamp_min(0).split(self.counts, dim=1)], dim=1)

    @property
    def stored_parameters(self) -> float:
        return float(self.kept.numel())
