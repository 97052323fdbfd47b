"""The merging coefficients that a method learned."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ..adapting.history import History
from ..errors import RecipeError
from ..problem import Problem
from ._measured import Measured, quantity
from ._metric import Metric
from ._swept import Swept


@dataclass(frozen=True, eq=False)
class Coefficients(Measured):
    """Coefficients λ of every expert, after the last update and at the start."""

    coefficient: np.ndarray = field(metadata=quantity("row expert", "λ after the last update, mean over tensors."))
    start: np.ndarray = field(metadata=quantity("row expert", "λ at the start, mean over tensors."))
    change: np.ndarray = field(metadata=quantity("row expert", "λ after the last update minus λ at the start."))


@dataclass(frozen=True)
class MeasureCoefficients(Metric):
    """Read how much of every expert a method learned to add to each tensor.

        θ_n = W_base,n + Σ_t λ_t,n M_t,n

    References
    ----------
    Yang, Wang, Shen, Liu, Guo, Wang, Tao, AdaMerging: Adaptive Model Merging for Multi-Task Learning, ICLR 2024,
    arXiv:2310.02575; Lee, Choi, Lee, Kim, Hong, AdaRank, ICLR 2026, arXiv:2503.22178.

    Notes
    -----
    Coefficients are as they were applied, within the bounds of the method. Rows above the tensor level hold the mean
    over tensors that differ between experts, each counted once; where all tensors share one coefficient, every row
    holds it. Where q, k and v are fused, their one coefficient stands under q.
    """

    title: ClassVar[str] = "Learned coefficients"
    about: ClassVar[str] = "How much of every expert is added to each tensor, beside where adaptation began."
    formula: ClassVar[str] = "θₙ = W_base,ₙ + Σₜ λₜ,ₙ Mₜ,ₙ"
    reference: ClassVar[str] = "Yang et al., ICLR 2024, arXiv:2310.02575; Lee et al., ICLR 2026, arXiv:2503.22178"
    unit: ClassVar[str] = ""
    source: ClassVar = "merge"
    produces: ClassVar = Coefficients
    headline: ClassVar[str] = "coefficient"

    def measure(self, problem: Problem, history: History | None) -> Coefficients:
        """Read the first and the last state of an adaptation; raises RecipeError where it learned no coefficients."""
        if history is None or not history.tensors or not history.states or "coefficients" not in history.states[0]:
            raise RecipeError(
                "This merge learned no merging coefficients; choose a method that does, such as AdaMerging or AdaRank."
            )
        shape = (len(history.tasks), len(history.tensors))
        start, now = (np.broadcast_to(history.states[at]["coefficients"], shape) for at in (0, -1))
        columns = zip(history.tensors, start.T.astype(float), now.T.astype(float), strict=True)
        place = problem.architecture.place
        swept = Swept(
            history.tasks, shape[0], [(name, place(name), {"start": s, "now": n}) for name, s, n in columns]
        )
        begun, found = swept.mean("start"), swept.mean("now")
        return Coefficients(swept.models, swept.rows, found, begun, found - begun)
