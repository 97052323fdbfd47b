"""MagMax."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ..contract import Context
from ..hp import hp
from ..maths.ops import largest_magnitude
from ..problem import TensorGroup
from ..tensorwise import TensorMerge


@dataclass(frozen=True)
class MagMax(TensorMerge):
    """Take, entry by entry, the change of largest magnitude.

        θ = θ_0 + λ τ_t*,   t* = argmax_t |τ_t|

    References
    ----------
    Marczak, Twardowski, Trzciński, Cygert, MagMax: Leveraging Model Merging for Seamless Continual Learning,
    ECCV 2024, arXiv:2407.06322.

    Notes
    -----
    Among equal magnitudes the later expert wins, as in the authors' code, whose script for eight experts has
    λ = 0.5. The paper fine-tunes one task after the other; with experts trained apart it is much weaker.
    """

    title: ClassVar[str] = "MagMax"
    family: ClassVar[str] = "Sign and sparsity"
    idea: ClassVar[str] = "For every weight, follow the expert that changed it most."
    formula: ClassVar[str] = "θ = θ₀ + λ τₜ*\nt* = argmaxₜ |τₜ|, entry by entry"
    paper: ClassVar[str] = "Marczak et al., MagMax, ECCV 2024, arXiv:2407.06322"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"failure": {"scaling": 2.0}}
    lesson: ClassVar[str] = (
        "The largest change of every entry, doubled: the step is too long in many entries at once, and most tasks pay "
        "for it."
    )

    scaling: float = hp(
        0.5, "Scaling coefficient of the merged task vector.", low=-10, high=10, soft=(0, 2), step=0.05,
        symbol="λ", sweep=(0.3, 0.4, 0.5, 0.6, 0.8, 1.0),
    )  # fmt: skip

    def merge(self, group: TensorGroup, ctx: Context, state: Any) -> Tensor:
        return largest_magnitude(group.task_vectors)
