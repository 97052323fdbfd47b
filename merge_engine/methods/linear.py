"""Weighted average."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ..contract import Context
from ..errors import RecipeError
from ..hp import hp
from ..maths.ops import per_expert
from ..problem import TensorGroup
from ..tensorwise import TensorMerge


@dataclass(frozen=True)
class Linear(TensorMerge):
    """Average the experts' weights with one weight per expert.

        θ = Σ_t w_t θ_t / Σ_t w_t     (normalise)
        θ = Σ_t w_t θ_t               (otherwise)

    References
    ----------
    Wortsman, Ilharco, Gadre, Roelofs, Gontijo-Lopes, Morcos, Namkoong, Farhadi, Carmon, Kornblith, Schmidt,
    Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing inference
    time, ICML 2022, arXiv:2203.05482.

    Notes
    -----
    As `linear` of mergekit and the weighted average of FusionBench: whole weights are added, so without
    normalising the weights should sum to one, else the pretrained weights are rescaled too. No weights given
    means 1/T for every expert.
    """

    title: ClassVar[str] = "Weighted average"
    family: ClassVar[str] = "Averaging"
    idea: ClassVar[str] = "Average the experts, with one weight for each."
    formula: ClassVar[str] = "θ = Σₜ wₜ θₜ"
    paper: ClassVar[str] = "Wortsman et al., Model soups, ICML 2022, arXiv:2203.05482"
    lesson: ClassVar[str] = (
        "Weights that do not add up to one, used as given, change the pretrained model too: at a quarter for each of "
        "eight experts all weights are doubled, and every task is at chance."
    )

    weights: tuple[float, ...] = hp(
        (), "Weight of each expert; none given means equal weights.", low=-10, high=10, soft=(0, 1),
        step=0.05, symbol="wₜ", per_expert=True,
    )  # fmt: skip
    normalise: bool = hp(
        True, "Divide by the sum of the weights.", always=True,
        says=(
            "weights are used as given; where they do not add up to one, the pretrained model is rescaled too",
            "weights are divided by their sum; none given means 1/T each",
        ),
    )  # fmt: skip

    def check(self, tasks: tuple[str, ...]) -> None:
        super().check(tasks)
        if self.normalise and self.weights and abs(sum(self.weights)) < 1e-6:
            raise RecipeError(
                f"Linear.weights must not sum to zero when normalised; got {self.weights}. "
                "Change a weight or set normalise to false."
            )

    def merge(self, group: TensorGroup, ctx: Context, state: Any) -> Tensor:
        count = len(group.tasks)
        given = self.weights or (1 / count,) * count
        total = sum(given)
        weights = tuple(w / total for w in given) if self.normalise else given
        merged = (per_expert(weights, group.experts) * group.task_vectors).sum(0)
        return merged + (sum(weights) - 1) * group.pretrained
