"""One file, one measurement: the file's name is its key, and dropping a file in registers it."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Collection
from functools import cache
from typing import Any

from .. import hp as declarations
from ..contract import Context, Problem
from ..errors import RecipeError, no_such
from ..merged import Merged
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


@cache
def registry() -> dict[str, type[Metric]]:
    """Return every metric class by key, in alphabetical order."""
    return {m.name: _only_metric(m.name) for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")}


def _only_metric(key: str) -> type[Metric]:
    module = importlib.import_module(f"{__name__}.{key}")
    found = [
        cls
        for _, cls in inspect.getmembers(module, inspect.isclass)
        if issubclass(cls, Metric) and cls.__module__ == module.__name__ and not inspect.isabstract(cls)
    ]
    if len(found) != 1:
        raise ImportError(f"metrics/{key}.py must define exactly one metric; it defines {len(found)}.")
    return found[0]


def metric_class(key: str) -> type[Metric]:
    """Return the class of a metric; raises RecipeError with the nearest known key."""
    known = registry()
    if key not in known:
        raise RecipeError(no_such("metric", key, known))
    return known[key]


def build(key: str, **options: Any) -> Metric:
    """Return a metric with the given options; the others keep their defaults."""
    cls = metric_class(key)
    declarations.check_names(options, cls)
    return cls(**options)


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


def key_of(metric: Metric | type[Metric]) -> str:
    """Return the key of a metric: the name of its file."""
    cls = metric if isinstance(metric, type) else type(metric)
    return cls.__module__.rsplit(".", 1)[-1]
