"""Weight average."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ..contract import Context
from ..problem import TensorGroup
from ..tensorwise import TensorMerge


@dataclass(frozen=True)
class Average(TensorMerge):
    """Average the weights of all experts.

        θ = (1/T) Σ_t θ_t = θ_0 + (1/T) Σ_t τ_t

    References
    ----------
    Wortsman, Ilharco, Gadre, Roelofs, Gontijo-Lopes, Morcos, Namkoong, Farhadi, Carmon, Kornblith, Schmidt,
    Model soups: averaging weights of multiple fine-tuned models improves accuracy without increasing inference
    time, ICML 2022, arXiv:2203.05482.

    Notes
    -----
    The uniform soup: all tensors take part and nothing is tuned. Task Arithmetic with λ = 1/T is the same.
    """

    title: ClassVar[str] = "Weight average"
    family: ClassVar[str] = "Averaging"
    idea: ClassVar[str] = "Take the mean of the experts' weights."
    formula: ClassVar[str] = "θ = (1/T) Σₜ θₜ"
    paper: ClassVar[str] = "Wortsman et al., Model soups, ICML 2022, arXiv:2203.05482"
    lesson: ClassVar[str] = (
        "With every expert more, each one counts less. Two keep nearly all they learned; of eight, an eighth of each "
        "change is left, and a fifth of what they gained over the pretrained model."
    )

    def merge(self, group: TensorGroup, ctx: Context, state: Any) -> Tensor:
        return group.task_vectors.mean(0)
