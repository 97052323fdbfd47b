"""The nearest mean of support features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ._support import SupportRouter


@dataclass(frozen=True)
class NearestMean(SupportRouter):
    """Score a task by the distance to the mean of its support features.

        score_t = −‖z − μ_t‖²

    References
    ----------
    Crisostomi et al., MASS: MoErging through Adaptive Subspace Selection, arXiv:2504.05342 (class-free prototypes).

    Notes
    -----
    One prototype per task, whatever its classes. The mean of normalised features is not normalised again. The subspace
    router at rank 0, centred per task, is the same.
    """

    title: ClassVar[str] = "Nearest mean"
    idea: ClassVar[str] = "Choose the task whose mean feature is nearest."
    formula: ClassVar[str] = "score = −‖z − μₜ‖²"
    paper: ClassVar[str] = "Crisostomi et al., MASS, arXiv:2504.05342"

    def scorer(self, support: Sequence[Tensor]) -> Means:
        return Means(torch.stack([z.mean(0) for z in support]))


@dataclass(frozen=True)
class Means:
    """One mean per task, (T, d)."""

    centre: Tensor

    def __call__(self, z: Tensor) -> Tensor:
        return -(z.unsqueeze(1) - self.centre.to(z)).square().sum(-1)

    @property
    def stored_parameters(self) -> float:
        return float(self.centre.numel())
