"""How much of the experts a Twin merge holds in its shared model, and how much in their exclusive parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeGuard, cast

import numpy as np
import torch
from torch import Tensor

from ..contract import Step
from ..maths.ops import flat
from ..merged import Merged
from ..problem import Problem
from .by_router import Mix
from .per_input import LowRankLinear, Share
from .routed import BlendedMerged


@dataclass(frozen=True, eq=False)
class Energies:
    """Energies ‖·‖_F² by block: `shared` (B,) of θ_s − θ_0, `exclusive` (B, T) of θ_t − θ_s, `kept` (B, T) of v_t."""

    experts: tuple[str, ...]
    blocks: tuple[int, ...]
    shared: np.ndarray
    exclusive: np.ndarray
    kept: np.ndarray

    def __len__(self) -> int:
        return len(self.blocks)

    @property
    def share(self) -> np.ndarray:
        """Energy after compression (B, T) over that before; NaN where an expert has nothing of its own."""
        blank = np.full(self.kept.shape, np.nan)
        return np.divide(self.kept, self.exclusive, out=blank, where=self.exclusive > 0)


def is_twin(merged: Merged | None) -> TypeGuard[BlendedMerged]:
    """True for a shared model with exclusive parts that a trained router mixes."""
    return isinstance(merged, BlendedMerged) and isinstance(merged.weighting, Mix)


def energy_steps(problem: Problem, merged: BlendedMerged) -> Generator[Step, None, Energies]:
    """Measure a Twin merge of a problem, tensor by tensor inside the blocks; yields Steps."""
    place, mix = problem.architecture.place, cast(Mix, merged.weighting)
    names = [n for n in problem.pretrained if place(n).block is not None]
    blocks = sorted({b for n in names if (b := place(n).block) is not None})
    shared, exclusive = np.zeros(len(blocks)), np.zeros((len(blocks), len(problem.tasks)))
    groups = problem.groups(device=mix.router.model[names[0]].device, names=set(names))
    for done, group in enumerate(groups, 1):
        at, model = blocks.index(cast(int, place(group.name).block)), mix.router.model[group.name].float()
        shared[at] += float((model - group.pretrained).square().sum())
        exclusive[at] += _energies(group.experts - model)
        yield Step(done, len(groups), group.name)
    kept = np.zeros_like(exclusive)
    for path, share in merged.shares.items():
        block = place(f"{path}.weight").block
        if block is not None:
            kept[blocks.index(block)] += share_energies(share, len(problem.tasks))
    return Energies(problem.tasks, tuple(blocks), shared, exclusive, kept)


def share_energies(share: Share, count: int) -> np.ndarray:
    """Return ‖v_t‖_F² of the experts' parts of one layer, (T,); ‖U Vᵀ‖_F² = ⟨UᵀU, VᵀV⟩ for factors."""
    if isinstance(share, LowRankLinear):
        sizes = share.owner.bincount(minlength=count).tolist()
        pairs = zip(share.up.split(sizes, 1), share.down.split(sizes), strict=True)
        found = np.array([float(((up.T @ up) * (down @ down.T)).sum()) for up, down in pairs])
        return found if share.bias is None else found + _energies(share.bias)
    dense: Any = share.to(torch.float32)
    fields = (getattr(dense, f.name) for f in dataclasses.fields(dense))
    return np.sum([_energies(value) for value in fields if isinstance(value, Tensor)], axis=0)


def _energies(values: Tensor) -> np.ndarray:
    """Return the energy of every expert's tensor, (T,) from (T, *S)."""
    return flat(values.float()).square().sum(1).numpy(force=True).astype(float)
