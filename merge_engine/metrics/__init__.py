"""One file, one measurement: the file's name is its key."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ..contract import Context
from ..errors import RecipeError
from ..merged import Merged
from ..problem import Problem
from ..registry import Registry, key_of
from ._measured import LEVELS, MERGED, Measured, Quantity, Row, table
from ._metric import Metric, WeightMetric

__all__ = [
    "LEVELS",
    "MERGED",
    "Measured",
    "Metric",
    "Quantity",
    "Row",
    "WeightMetric",
    "build",
    "key_of",
    "measure",
    "metric_class",
    "registry",
    "table",
]


_METRICS = Registry(__name__, Metric, "metric")
registry, metric_class, build = _METRICS.classes, _METRICS.find, _METRICS.build


def measure(
    key: str,
    problem: Problem,
    ctx: Context | None = None,
    *,
    names: Collection[str] | str | None = None,
    merged: Merged | None = None,
    **options: Any,
) -> Measured:
    """Measure the weights of a problem (only the tensors in `names`, where given) and return the arrays."""
    metric = build(key, **options)
    if not isinstance(metric, WeightMetric):
        raise RecipeError(f"{metric.title} is measured on {metric.source}, not on weights; call its own measure().")
    return metric.measure(problem, ctx, names=names, merged=merged)
