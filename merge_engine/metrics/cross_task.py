"""Every expert on every task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ._measured import Measured, Row, quantity
from ._metric import Metric


@dataclass(frozen=True, eq=False)
class CrossTask(Measured):
    """Accuracy of expert i (axis expert) on task j (axis other)."""

    accuracy: np.ndarray = field(metadata=quantity("expert other", "acc[i, j], expert i on task j."))
    forgetting: np.ndarray = field(metadata=quantity("expert other", "Pretrained accuracy minus acc[i, j]."))


@dataclass(frozen=True)
class MeasureCrossTask(Metric):
    """Measure what every expert lost or gained on the other experts' tasks.

        forgetting[i, j] = acc(θ_0, j) − acc(expert i, j)

    References
    ----------
    Tang et al., FusionBench, arXiv:2406.03280.

    Notes
    -----
    Positive forgetting is a loss. The diagonal is each expert on its own task.
    """

    title: ClassVar[str] = "Cross-task accuracy"
    about: ClassVar[str] = "What every expert still knows, or learnt in passing, of the other experts' tasks."
    formula: ClassVar[str] = "forgetting[i, j] = acc(θ₀, j) − acc(expert i, j)"
    reference: ClassVar[str] = "Tang et al., FusionBench, arXiv:2406.03280"
    unit: ClassVar[str] = "accuracy"
    source: ClassVar = "predictions"
    levels: ClassVar[tuple[str, ...]] = ("all",)
    produces: ClassVar = CrossTask
    headline: ClassVar[str] = "accuracy"

    def measure(self, experts: Mapping[str, Mapping[str, float]], pretrained: Mapping[str, float]) -> CrossTask:
        """Measure accuracies by expert and task; one that is not there is missing."""
        tasks = tuple(experts)
        matrix = np.array([[experts[i].get(j, np.nan) for j in tasks] for i in tasks])
        base = np.array([pretrained.get(j, np.nan) for j in tasks])
        return CrossTask(tasks, (Row("all"),), matrix, base - matrix)
