"""How often inputs reach the right expert, and what a wrong way costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from ..errors import RecipeError, no_such
from ..hp import hp, pairs_of
from ._measured import Measured, Row, quantity
from ._metric import Metric
from .accuracy import wilson

Array = Any  # a numpy array, or a tensor on the CPU


@dataclass(frozen=True, eq=False)
class Routing(Measured):
    """Routes of one merge, shares in [0, 1]: the axis `expert` is the task of an input, `other` where it was sent."""

    confusion: np.ndarray = field(metadata=quantity("expert other", "Share of the task's inputs sent to an expert."))
    routed_right: np.ndarray = field(metadata=quantity("expert", "Share of the task's inputs sent to its own expert."))
    low: np.ndarray = field(metadata=quantity("expert", "Lower end of its 95 % Wilson interval."))
    high: np.ndarray = field(metadata=quantity("expert", "Upper end of its 95 % Wilson interval."))
    known_task: np.ndarray = field(metadata=quantity("expert", "Accuracy when told the task; missing if undefined."))
    end_to_end: np.ndarray = field(metadata=quantity("expert", "Right expert and right class."))
    gap: np.ndarray = field(metadata=quantity("expert", "Known-task accuracy minus end-to-end accuracy."))
    inputs: np.ndarray = field(metadata=quantity("expert", "Inputs scored."))
    routed_alike: np.ndarray = field(metadata=quantity("expert", "Share sent to its own expert or to one alike."))
    routed_right_average: np.ndarray = field(metadata=quantity("row", "Mean over tasks of the share sent right."))
    known_task_average: np.ndarray = field(metadata=quantity("row", "Mean over tasks of the known-task accuracy."))
    end_to_end_average: np.ndarray = field(metadata=quantity("row", "Mean over tasks of the end-to-end accuracy."))
    gap_average: np.ndarray = field(metadata=quantity("row", "Mean over tasks of the gap."))


@dataclass(frozen=True)
class MeasureRouting(Metric):
    """Count where a merge sends the inputs of every task, and how often expert and class are both right.

        confusion[t, u] = share of task t sent to u,  gap_t = acc_t(told the task) − acc_t(expert and class right)

    References
    ----------
    Son, Jung, Baik, Training-free Task Classification for Multi-Task Model Merging, arXiv:2606.22589.

    Notes
    -----
    An input counts as right only if it was sent to its own expert and its class is right; the class of another task
    with the same number is wrong. Tasks whose inputs are much the same can count as one: that changes the share in
    `routed_alike`, and never what is right. Where a merge blends experts, an input is sent where its head is from. The
    known-task accuracy is that of the stored expert, or of the blend with all weight on it.
    """

    title: ClassVar[str] = "Routing"
    about: ClassVar[str] = "How often inputs reach their own task's expert, and how much accuracy wrong ways cost."
    formula: ClassVar[str] = "confusion[t, u],  gapₜ = accₜ(task known) − accₜ(routed)"
    reference: ClassVar[str] = "Son et al., Training-free Task Classification, arXiv:2606.22589"
    unit: ClassVar[str] = "share"
    source: ClassVar = "predictions"
    levels: ClassVar[tuple[str, ...]] = ("all",)
    produces: ClassVar = Routing
    headline: ClassVar[str] = "confusion"

    alike: str = hp("", "Tasks that count as one, such as mnist=emnist, cifar10=stl10.", pairs=True)

    def measure(
        self, picked: Mapping[str, Array], right: Mapping[str, Array], known: Mapping[str, float]
    ) -> Routing:
        """Measure routes by task, numbers of experts (N,) in the order of the tasks.

        `right` (N,) says whether expert and class are both right; `known` is the known-task accuracy.
        """
        tasks = tuple(picked)
        sent = {t: np.asarray(picked[t], int) for t in tasks}
        confusion = np.array([_shares(sent[t], len(tasks)) for t in tasks])
        hits = {t: sent[t] == i for i, t in enumerate(tasks)}
        both = np.array([_mean(np.asarray(right[t], bool)) for t in tasks])
        bounds = np.array([wilson(int(hits[t].sum()), len(hits[t])) for t in tasks])
        own, ceiling = np.diagonal(confusion).copy(), np.array([known.get(t, np.nan) for t in tasks])
        averages = [np.array([a.mean()]) for a in (own, ceiling, both, ceiling - both)]
        counts = np.array([len(sent[t]) for t in tasks])
        alike = (confusion * self._same(tasks)).sum(1)
        return Routing(
            tasks, (Row("all"),), confusion, own, bounds[:, 0], bounds[:, 1], ceiling, both, ceiling - both, counts,
            alike, *averages,
        )  # fmt: skip

    def _same(self, tasks: tuple[str, ...]) -> np.ndarray:
        """Return which tasks count as one, boolean (T, T): those that a chain of pairs connects."""
        same = np.eye(len(tasks), dtype=bool)
        for pair in pairs_of(self.alike).items():
            for name in pair:
                if name not in tasks:
                    raise RecipeError(no_such("task of this merge", name, tasks))
            a, b = map(tasks.index, pair)
            same[a, b] = same[b, a] = True
        return np.linalg.matrix_power(same.astype(int), len(tasks)) > 0


def _shares(sent: np.ndarray, count: int) -> np.ndarray:
    return np.bincount(sent, minlength=count) / len(sent) if len(sent) else np.full(count, np.nan)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
