"""DELLA: magnitude-ranked drop and rescale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..contract import Context
from ..hp import hp
from ..maths.ops import AGREEING, as_rows, disjoint_merge, drop_and_rescale, elect_sign, magnitude_ranks
from ..problem import TensorGroup
from ..tensorwise import TensorMerge


@dataclass(frozen=True)
class Della(TensorMerge):
    """Drop entries at random, the small ones of each row more often, rescale, and elect signs or add up.

        p_keep = (d − ε) + 2ε (rank − 1)/(n − 1)     rank of |τ_t| within its row of n, 1 for the smallest
        θ = θ_0 + λ · disjoint mean of the kept entries, or λ times their sum

    References
    ----------
    Deep, Bhardwaj, Poria, DELLA-Merging: Reducing Interference in Model Merging through Magnitude-Based
    Sampling, 2024, arXiv:2406.11617.

    Notes
    -----
    As in mergekit (`della` is ties with mean, `della_linear` linear): kept entries are rescaled to the L1 norm
    of the tensor; the paper's 1/p_keep per entry is rescale = inverse. Convolutions are ranked as
    rows of [out, rest] and vectors as one row; a row of one entry is kept with probability d. Where d ± ε would
    leave [0, 1], ε is min(d, 1 − d), so d = 1 keeps everything. ε = 0 is DARE, draw for draw.
    """

    title: ClassVar[str] = "DELLA"
    family: ClassVar[str] = "Sign and sparsity"
    idea: ClassVar[str] = "Drop changes at random, but the small ones more often than the large ones."
    formula: ClassVar[str] = (
        "θ = θ₀ + λ · merge of the kept entries of all τₜ\np(keep) = d − ε + 2 · ε (rank − 1)/(n − 1)"
    )
    where: ClassVar[str] = "rank counts |τₜ| within its row of n entries, the smallest first"
    paper: ClassVar[str] = "Deep, Bhardwaj, Poria, DELLA-Merging, 2024, arXiv:2406.11617"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"failure": {"scaling": 4.0}}
    lesson: ClassVar[str] = (
        "Every kept entry counts four times: the step is so long that no task survives."
    )

    density: float = hp(0.5, "Mean share of entries kept.", low=0.001, high=1, soft=(0.05, 1), step=0.05, symbol="d")
    epsilon: float = hp(
        0.15, "Half the spread of the keep probability from the smallest to the largest entry.", low=0, high=0.5,
        step=0.01, symbol="ε",
    )  # fmt: skip
    rescale: str = hp(
        "l1", "Restore each tensor's L1 norm, divide by the keep probability, or neither.",
        choices={
            "l1": "kept entries are enlarged to the tensor's L1 norm, as in mergekit; the paper divides by p(keep)",
            "inverse": "kept entries are divided by their own p(keep), as in the paper",
            "none": "kept entries are not enlarged",
        },
        always=True,
    )  # fmt: skip
    combine: str = hp(
        "ties", "Elect signs and merge who agrees, or add up.",
        choices={
            "ties": "signs are elected, and what agrees is merged (della of mergekit)",
            "linear": "what is kept is added up (della_linear of mergekit)",
        },
        always=True,
    )  # fmt: skip
    merge_by: str = hp("mean", "How agreeing values are merged.", choices=AGREEING, when=("combine", ("ties",)))
    scaling: float = hp(
        1.0, "Scaling coefficient of the merged task vector.", low=-10, high=10, soft=(0, 3), step=0.05,
        symbol="λ", sweep=(0.2, 0.3, 0.5, 0.7, 1.0, 1.3),
    )  # fmt: skip

    def acting(self, experts: int) -> dict[str, Any]:
        return {**self.parameters(), "epsilon": min(self.epsilon, self.density, 1 - self.density)}

    def remarks(self, tasks: tuple[str, ...]) -> list[str]:
        room = self.acting(len(tasks))["epsilon"]
        if self.epsilon <= room + 1e-9:
            return []
        return [f"DELLA lowers epsilon to {room:g}, the most that density {self.density:g} allows."]

    def merge(self, group: TensorGroup, ctx: Context, state: Any) -> Tensor:
        vectors = group.task_vectors
        spread = self.acting(len(vectors))["epsilon"]
        ranks = magnitude_ranks(as_rows(vectors)).view_as(vectors)
        keep = (self.density - spread) + 2 * spread * ranks
        each = zip(vectors, keep, group.tasks, strict=True)
        kept = torch.stack(
            [drop_and_rescale(v, p, self.rescale, ctx.generator(group.name, task)) for v, p, task in each]
        )
        return kept.sum(0) if self.combine == "linear" else disjoint_merge(kept, elect_sign(kept), self.merge_by)
