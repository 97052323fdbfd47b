"""Model Stock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..contract import Context
from ..hp import hp
from ..maths.ops import as_rows, flat, pairwise_cosines
from ..problem import Groups, Problem, TensorGroup
from ..tensorwise import TensorMerge

CLAMPED = "Some experts point apart on average; Model Stock keeps the pretrained weights there."


@dataclass(frozen=True)
class ModelStock(TensorMerge):
    """Move from the pretrained model towards the average, as far as the experts agree in direction.

        c = mean over pairs of cos(τ_i, τ_j),   t = T c / (1 + (T − 1) c)
        θ = t · (1/T) Σ_t θ_t + (1 − t) θ_0

    References
    ----------
    Jang, Yun, Han, Model Stock: All we need is just a few fine-tuned models, ECCV 2024, arXiv:2403.19522.

    Notes
    -----
    `cosine` averages the cosines (mergekit), `angle` the angles (FusionBench); they differ when angles spread.
    `rows` is mergekit's filter_wise: one c per output, vectors as one row. c is clamped to [0, 1], since a
    negative c would move away from the experts, and the run notes it. The method is meant for several
    fine-tunings for one task: nearly orthogonal experts stay between the pretrained model and the average.
    """

    title: ClassVar[str] = "Model Stock"
    family: ClassVar[str] = "Averaging"
    idea: ClassVar[str] = "The more the experts agree in direction, the further to go towards their average."
    formula: ClassVar[str] = "θ = θ₀ + t · (1/T) Σₜ τₜ\nt = T c / (1 + (T − 1) c)"
    paper: ClassVar[str] = "Jang, Yun, Han, Model Stock, ECCV 2024, arXiv:2403.19522"
    experts_allowed: ClassVar[tuple[int, int | None]] = (2, None)
    lesson: ClassVar[str] = (
        "It is made for several fine-tunings for one task. Experts of different tasks are nearly orthogonal, so that "
        "every choice here stops on the way to the average and stays below it."
    )

    mean: str = hp(
        "cosine", "Average the cosines, or the angles.",
        choices={
            "cosine": "c is the mean cosine of two experts, as in mergekit; FusionBench averages angles",
            "angle": "c is the cosine of the mean angle, as in FusionBench; mergekit averages cosines",
        },
        always=True,
    )  # fmt: skip
    per: str = hp(
        "tensor", "One ratio per tensor, or per row of a tensor.",
        choices={
            "tensor": "every tensor has one t",
            "rows": "every row of a tensor has its own t (filter_wise of mergekit)",
        },
    )  # fmt: skip

    def prepare(self, groups: Groups, problem: Problem, ctx: Context) -> list[float]:
        return []

    def merge(self, group: TensorGroup, ctx: Context, state: list[float]) -> Tensor:
        vectors = group.task_vectors
        rows = as_rows(vectors) if self.per == "rows" else flat(vectors).unsqueeze(1)
        cosines = pairwise_cosines(rows)
        agreement = cosines.mean(0) if self.mean == "cosine" else cosines.acos().mean(0).cos()
        if (agreement < 0).any():
            ctx.note(CLAMPED)
        agreement = agreement.clamp(0, 1).unsqueeze(1)
        ratio = len(vectors) * agreement / (1 + (len(vectors) - 1) * agreement)
        state.append(float(ratio.mean()))
        return (ratio * rows.mean(0)).view_as(group.pretrained).float()

    def live(self, state: list[float]) -> Mapping[str, float]:
        return {"mean t": sum(state) / len(state)}
