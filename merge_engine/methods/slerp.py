"""Spherical interpolation of two experts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ..contract import Context
from ..hp import hp
from ..maths.ops import flat, slerp
from ..problem import TensorGroup
from ..tensorwise import TensorMerge

COLLINEAR = 0.9995


@dataclass(frozen=True)
class Slerp(TensorMerge):
    """Interpolate the weights of two experts along the arc between them, tensor by tensor.

        θ = [sin((1−t)ω) θ_1 + sin(tω) θ_2] / sin ω,   cos ω = ⟨θ_1, θ_2⟩ / (|θ_1||θ_2|)

    References
    ----------
    Shoemake, Animating rotation with quaternion curves, SIGGRAPH 1985; as merged by Goddard et al., Arcee's
    MergeKit, EMNLP 2024, arXiv:2403.13257.

    Notes
    -----
    The weights are not normalised, so norms are interpolated too. Where |cos ω| > 0.9995, which is nearly
    everywhere for two fine-tunings of one model, the result is the straight line. A zero tensor counts as
    orthogonal. FusionBench and mergekit agree on this. Angles are in float64.
    """

    title: ClassVar[str] = "SLERP"
    family: ClassVar[str] = "Averaging"
    idea: ClassVar[str] = "Walk from one expert to the other on the sphere instead of straight."
    formula: ClassVar[str] = "θ = [sin((1 − t) ω) θ₁ + sin(t ω) θ₂] / sin ω"
    where: ClassVar[str] = "ω is the angle between the two; where it is nearly zero, the way is straight"
    paper: ClassVar[str] = "Shoemake, Animating rotation with quaternion curves, SIGGRAPH 1985"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"failure": {"t": 1.0}}
    lesson: ClassVar[str] = (
        "All the way to the second expert: its task is solved, and the first one's is lost."
    )
    experts_allowed: ClassVar[tuple[int, int | None]] = (2, 2)

    t: float = hp(
        0.5, "Place between the first expert (0) and the second (1).", low=0, high=1, step=0.05, symbol="t",
        sweep=(0.3, 0.4, 0.5, 0.6, 0.7),
    )  # fmt: skip

    def merge(self, group: TensorGroup, ctx: Context, state: Any) -> Tensor:
        first, second = flat(group.experts)
        merged = slerp(first, second, self.t, lambda cos: cos.abs() > COLLINEAR)
        return (merged.view_as(group.pretrained) - group.pretrained).float()
