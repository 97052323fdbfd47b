"""Task Arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ..contract import Context
from ..hp import hp
from ..problem import TensorGroup
from ..tensorwise import TensorMerge


@dataclass(frozen=True)
class TaskArithmetic(TensorMerge):
    """Add the scaled sum of the task vectors to the pretrained model.

        θ = θ_0 + λ Σ_t τ_t

    References
    ----------
    Ilharco, Ribeiro, Wortsman, Gururangan, Schmidt, Hajishirzi, Farhadi, Editing Models with Task Arithmetic,
    ICLR 2023, arXiv:2212.04089.

    Notes
    -----
    All tensors take part. λ = 0.3 is the published choice for eight tasks; λ = 1/T is the weight average.
    """

    title: ClassVar[str] = "Task Arithmetic"
    family: ClassVar[str] = "Task vectors"
    idea: ClassVar[str] = "Add up what every expert learned and scale the sum by one number."
    formula: ClassVar[str] = "θ = θ₀ + λ Σₜ τₜ"
    paper: ClassVar[str] = "Ilharco et al., Editing Models with Task Arithmetic, ICLR 2023, arXiv:2212.04089"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"failure": {"scaling": 1.0}}
    lesson: ClassVar[str] = (
        "The task vectors are added in full: eight of them are too long a step, and most tasks fall below "
        "the pretrained model."
    )

    scaling: float = hp(
        0.3, "Scaling coefficient of the summed task vector.", low=-10, high=10, soft=(0, 2), step=0.05,
        symbol="λ", sweep=(0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7),
    )

    def merge(self, group: TensorGroup, ctx: Context, state: Any) -> Tensor:
        return group.task_vectors.sum(0)
