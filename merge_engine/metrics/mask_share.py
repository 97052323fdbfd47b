"""How many singular components of every expert learned masks keep."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ..adapting.history import History
from ..errors import RecipeError
from ..problem import Problem
from ._measured import Measured, quantity
from ._metric import Metric
from ._swept import Swept, ratio


@dataclass(frozen=True, eq=False)
class MaskShare(Measured):
    """Components with a mask, after the last update and at the start; shares in [0, 1]."""

    kept: np.ndarray = field(metadata=quantity("row expert", "Share of the components that is on."))
    start: np.ndarray = field(metadata=quantity("row expert", "Share that was on at the start."))
    switched_on: np.ndarray = field(metadata=quantity("row expert", "Share that is on and was off at the start."))
    switched_off: np.ndarray = field(metadata=quantity("row expert", "Share that is off and was on at the start."))
    components: np.ndarray = field(metadata=quantity("row expert", "Number of components that are on."))


@dataclass(frozen=True)
class MeasureMaskShare(Metric):
    """Count the components of every matrix that learned masks keep, expert by expert, and what they switched.

        kept_t = Σ_a b_t,a / r,  on_t = Σ_a b_t,a (1 − b⁰_t,a) / r,  off_t = Σ_a b⁰_t,a (1 − b_t,a) / r

    References
    ----------
    Lee, Choi, Lee, Kim, Hong, AdaRank: Adaptive Rank Pruning for Enhanced Model Merging, ICLR 2026,
    arXiv:2503.22178.

    Notes
    -----
    Only matrices with masks are counted; those of several matrices are counted before the division. A soft mask is on
    above σ(0) = 1/2. Where q, k and v are fused, their one mask stands under q.
    """

    title: ClassVar[str] = "Learned masks"
    about: ClassVar[str] = "Which share of every expert's singular components is on, beside where adaptation began."
    formula: ClassVar[str] = "keptₜ = Σₐ bₜₐ / r"
    reference: ClassVar[str] = "Lee et al., AdaRank, ICLR 2026, arXiv:2503.22178"
    unit: ClassVar[str] = "share"
    source: ClassVar = "merge"
    produces: ClassVar = MaskShare
    headline: ClassVar[str] = "kept"

    def measure(self, problem: Problem, history: History | None) -> MaskShare:
        """Count the masks in the first and the last state of an adaptation; raises RecipeError where it has none."""
        if history is None or not history.ranks or not history.states:
            raise RecipeError(
                "This merge learned no masks over singular components; choose a method that does, such as AdaRank."
            )
        place, found = problem.architecture.place, []
        for name, rank in history.ranks.items():
            now, before = history.masks(name, -1), history.masks(name, 0)
            masks = {"on": now, "start": before, "come": now & ~before, "gone": before & ~now}
            counts = {key: mask.sum(1).astype(float) for key, mask in masks.items()}
            found.append((name, place(name), {**counts, "rank": np.array(float(rank))}))
        swept = Swept(history.tasks, len(history.tasks), found)
        on, rank = swept.total("on"), swept.total("rank")[:, None]
        start, come, gone = (ratio(swept.total(key), rank) for key in ("start", "come", "gone"))
        return MaskShare(swept.models, swept.rows, ratio(on, rank), start, come, gone, on)
