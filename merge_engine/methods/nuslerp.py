"""NuSLERP: spherical interpolation of two task vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ..contract import Context
from ..hp import hp
from ..maths.ops import as_rows, flat, slerp
from ..problem import TensorGroup
from ..tensorwise import TensorMerge

COLLINEAR = 1e-8


@dataclass(frozen=True)
class NuSlerp(TensorMerge):
    """Interpolate two task vectors along the arc between them, whole tensors or row by row.

        t = w_2/(w_1 + w_2)
        θ = θ_0 + [sin((1−t)ω) τ_1 + sin(tω) τ_2] / sin ω

    References
    ----------
    Goddard, Siriwardhana, Ehghaghi, Meyers, Karpukhin, Benedict, McQuade, Solawetz, Arcee's MergeKit: A Toolkit
    for Merging Large Language Models, EMNLP 2024, arXiv:2403.13257.

    Notes
    -----
    As mergekit's nuslerp, with and without a base model. `rows` interpolates each output's row [i, :] of a
    weight [out, in] (nuslerp_row_wise: false there), `columns` each [:, j] (row_wise: true); both need
    nuslerp_flatten: false. Convolutions are taken as [out, rest], vectors always whole. Straight where sin ω is
    below 1e-8, t = 1/2 where the weights sum to zero, and a zero vector counts as orthogonal.
    """

    title: ClassVar[str] = "NuSLERP"
    family: ClassVar[str] = "Averaging"
    idea: ClassVar[str] = "Interpolate what two experts learned on the sphere, tensor by tensor or row by row."
    formula: ClassVar[str] = "θ = θ₀ + [sin((1 − t) ω) τ₁ + sin(t ω) τ₂] / sin ω\nt = w₂ / (w₁ + w₂)"
    where: ClassVar[str] = "wₜ weighs an expert; ω is the angle between the two"
    paper: ClassVar[str] = "Goddard et al., Arcee's MergeKit, EMNLP 2024, arXiv:2403.13257"
    experts_allowed: ClassVar[tuple[int, int | None]] = (2, 2)
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"failure": {"weights": (-1.0, 2.0)}}
    lesson: ClassVar[str] = (
        "The arc is followed beyond the second expert, as far again: both tasks fall below the pretrained model, the "
        "second one too."
    )

    weights: tuple[float, ...] = hp(
        (), "Weight of each expert; none given means equal weights.", low=-10, high=10, soft=(0, 1), step=0.05,
        symbol="wₜ", per_expert=True,
    )  # fmt: skip
    per: str = hp(
        "tensor", "One arc per tensor, row or column.",
        choices={
            "tensor": "every tensor has one arc",
            "rows": "every row has its own arc (nuslerp_row_wise: false in mergekit, not flattened)",
            "columns": "every column has its own arc (nuslerp_row_wise: true in mergekit, not flattened)",
        },
    )  # fmt: skip
    between: str = hp(
        "task-vectors", "Interpolate task vectors or weights.",
        choices={
            "task-vectors": "task vectors are interpolated, as mergekit does with a base model",
            "weights": "whole weights are interpolated, as mergekit does without a base model",
        },
        always=True,
    )  # fmt: skip

    @property
    def t(self) -> float:
        """Place between the first expert (0) and the second (1)."""
        total = sum(self.weights)
        return self.weights[1] / total if abs(total) >= 1e-6 else 0.5

    def merge(self, group: TensorGroup, ctx: Context, state: Any) -> Tensor:
        ends = group.experts if self.between == "weights" else group.task_vectors
        across = self.per == "columns" and ends.ndim > 2
        vectors = flat(ends) if self.per == "tensor" else as_rows(ends)
        first, second = vectors.mT if across else vectors
        merged = slerp(first, second, self.t, lambda cos: 1 - cos**2 <= COLLINEAR**2)
        merged = (merged.mT if across else merged).reshape(group.pretrained.shape)
        return (merged - group.pretrained if self.between == "weights" else merged).float()
