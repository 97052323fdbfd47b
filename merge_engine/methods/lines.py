"""LiNeS, layer-increasing network scaling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..contract import Context
from ..hp import hp
from ..merged import StaticMerged
from ..problem import Groups, TensorGroup
from ..tensorwise import PostStep


@dataclass(frozen=True)
class Lines(PostStep):
    """Scale the merged task vector less in early blocks, which tasks share, and more in late ones.

        τ_l ← (α + β l/(L − 1)) τ_l in block l of L, and α τ outside the blocks;  α = |Σ_t τ_t|_1 / (T |τ_merged|_1)

    References
    ----------
    Wang, Dimitriadis, Favero, Ortiz-Jimenez, Fleuret, Frossard, LiNeS: Post-training Layer Scaling Prevents
    Forgetting and Enhances Model Merging, ICLR 2025, arXiv:2410.17146.

    Notes
    -----
    The paper replaces the scaling coefficient of the merge by α and β: follow a merge with scaling 1. For a single
    expert it ties β = 1 − α (`alpha_rule="one-minus-beta"`). β has no published default; it is searched on
    validation data in (0, 1].
    """

    title: ClassVar[str] = "LiNeS"
    family: ClassVar[str] = "Post-steps"
    idea: ClassVar[str] = "Keep shallow layers near the pretrained model and let deep layers move."
    formula: ClassVar[str] = "τ_l ← (α + β l/(L − 1)) τ_l"
    where: ClassVar[str] = "τ_l is the merged task vector in block l of L; outside the blocks it is multiplied by α"
    paper: ClassVar[str] = "Wang et al., LiNeS, ICLR 2025, arXiv:2410.17146"

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"failure": {"beta": -1.0}}
    lesson: ClassVar[str] = (
        "The order is turned around: shallow blocks, which tasks share, move most, and the deepest have their task "
        "vectors subtracted. The merge falls far below the pretrained model."
    )

    beta: float = hp(0.5, "How much more the last block is scaled than the first.", low=-10, high=10, soft=(0, 2),
                     step=0.05, symbol="β", sweep=(0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0))  # fmt: skip
    alpha_rule: str = hp(
        "norms", "Where α comes from: the norms as for several tasks, 1 − β as for one, or the number given.",
        choices={
            "norms": "α = |Σₜ τₜ|₁ / (T |τ|₁), as the paper has it for several tasks",
            "one-minus-beta": "α and β add up to one, as the paper has it for one task",
            "given": "α is the number given",
        },
        always=True,
    )  # fmt: skip
    alpha: float = hp(0.3, "Scaling of the first block, under the rule 'given'.", low=-10, high=10, soft=(0, 2),
                      step=0.05, symbol="α", when=("alpha_rule", ("given", "one-minus-beta")))  # fmt: skip

    def acting(self, experts: int) -> dict[str, Any]:
        derived = {"alpha": 1 - self.beta} if self.alpha_rule == "one-minus-beta" else {}
        return {**self.parameters(), **derived}

    def prepare(self, groups: Groups, merged: StaticMerged, ctx: Context) -> float:
        """Return α."""
        if self.alpha_rule == "norms":
            return balanced(groups, merged)
        return self.acting(len(groups.problem.tasks))["alpha"]

    def change(self, delta: Tensor, group: TensorGroup, ctx: Context, state: float) -> Tensor:
        depth = 0.0 if group.block is None else group.block / max(1, group.depth - 1)
        return (state + self.beta * depth) * delta


def balanced(groups: Groups, merged: StaticMerged) -> float:
    """Return |Σ_t τ_t|_1 / (T |τ_merged|_1) over all tensors; 1 for a merge that is the pretrained model."""
    summed = size = 0.0
    for group in groups:
        summed += float(group.task_vectors.sum(0).abs().sum(dtype=torch.float64))
        size += float(merged.task_vector(group.name).abs().sum(dtype=torch.float64))
    return summed / (len(group.tasks) * size) if size else 1.0
