"""SVC, singular value calibration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..contract import Context
from ..hp import hp
from ..maths.spectral import FLOOR
from ..merged import StaticMerged
from ..pausing import Pausing
from ..problem import Groups, TensorGroup
from ..tensorwise import PostStep


@dataclass
class Calibration:
    """The merge being calibrated, and γ_r of every component so far."""

    merged: StaticMerged
    factors: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Svc(PostStep):
    """Rescale every singular value of the merged matrix by how often the tasks were counted in its direction.

        D = U diag(s) Vᵀ,  p_tr = <u_rᵀ D, u_rᵀ D_t> / |u_rᵀ D_t|²,  γ_r = T / Σ_t max(floor, p_tr),  s_r ← γ_r s_r

    References
    ----------
    Li, Peng, Zhang, Guo, Duan, Shi, When Shared Knowledge Hurts: Spectral Over-Accumulation in Model Merging,
    ICML 2026, arXiv:2602.05536.

    Notes
    -----
    On every 2-D tensor, with the scaling coefficient inside D. A task with less than 1e-6 of itself in a direction
    counts as the floor. A low floor amplifies: orthogonal tasks are multiplied by T/(1 + (T − 1) floor), so watch
    the mean γ. Where D has equal singular values, as after Iso-C, its basis and so the result are arbitrary.
    """

    title: ClassVar[str] = "Singular value calibration"
    family: ClassVar[str] = "Post-steps"
    idea: ClassVar[str] = (
        "Turn down directions that several tasks share and that were therefore counted twice."
    )
    formula: ClassVar[str] = "sᵣ ← γᵣ sᵣ\nγᵣ = T / Σₜ max(f, ⟨uᵣᵀ D, uᵣᵀ Dₜ⟩ / ‖uᵣᵀ Dₜ‖²)"
    paper: ClassVar[str] = "Li et al., When Shared Knowledge Hurts, ICML 2026, arXiv:2602.05536"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"failure": {"floor": 10.0}}
    lesson: ClassVar[str] = (
        "Every task counts ten times in every direction, so all of them are turned down to a tenth and little more "
        "than the pretrained model is left. Too low a floor fails the other way: behind TSV-M, 0.01 falls far below it."
    )

    floor: float = hp(
        0.1, "Least count of a task in a direction. Published: 0.1; after Iso-CTS 0.2; after TSV-M and WUDI 1.",
        low=0.01, high=10, soft=(0.05, 1), step=0.05, symbol="f", sweep=(0.1, 0.2, 0.5, 1.0),
    )  # fmt: skip
    embeddings: str = hp(
        "spectral", "Matrices outside the blocks: calibrated as published, or unchanged.",
        choices={
            "spectral": "matrices outside the blocks are calibrated, as published",
            "unchanged": "matrices outside the blocks stay unchanged; published code calibrates them",
        },
    )  # fmt: skip

    def prepare(self, groups: Groups, merged: StaticMerged, ctx: Context) -> Calibration:
        return Calibration(merged)

    def decomposes(self) -> str:
        return "merged"

    def live(self, state: Calibration) -> Mapping[str, float]:
        """Return the mean γ: above 1 the step is also a larger scaling coefficient."""
        return {"mean γ": sum(state.factors) / len(state.factors)} if state.factors else {}

    def change(self, delta: Tensor, group: TensorGroup, ctx: Context, state: Calibration) -> Pausing[Tensor]:
        if delta.ndim != 2 or not (group.is_matrix or self.embeddings == "spectral"):
            return delta
        U, s, Vh = (part.double() for part in state.merged.factors(group.name, ctx.svd))
        yield
        counts = projections(U, s, Vh, group.task_vectors).nan_to_num(self.floor).clamp_min(self.floor)
        gamma = len(counts) / counts.sum(0)
        state.factors += gamma.tolist()
        return ((U * (gamma * s)) @ Vh).float()


def projections(U: Tensor, s: Tensor, Vh: Tensor, vectors: Tensor) -> Tensor:
    """Return p (T, r), float64; NaN where less than 1e-6 of a task lies in a direction, as the ratio is noise."""
    rows = []
    for vector in vectors:
        own = U.T @ vector.double()
        size = own.square().sum(1)
        present = size > FLOOR**2 * size.sum()
        rows.append(torch.where(present, s * (own * Vh).sum(1) / size, torch.nan))
    return torch.stack(rows)
