"""Values worth marking in a sweep: the published default, the recipe's own, and those the results table chose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..suite import Suite
from .grid import Values
from .publish import stored_lines
from .sweep import Sweep
from .table import CHOSEN

PUBLISHED, CURRENT, TABLE = "published", "current", "table"


def landmarks(suite: Suite, sweep: Sweep) -> dict[str, Values]:
    """Return by name the values of the swept numbers that are published, in the recipe, and chosen for the table.

    The table's are those chosen on validation for the same experts; they are left out where it has none. So is a value
    in whose place a word stands.
    """
    axes = sweep.axes
    found: dict[str, tuple[Any, ...]] = {
        PUBLISHED: tuple(axis.hp.default for axis in axes),
        CURRENT: tuple(axis.value_in(sweep.recipe) for axis in axes),
    }
    row = _chosen(suite, sweep)
    if row is not None:
        given = [row["parameters"], *(step["parameters"] for step in row["post"])]
        found[TABLE] = tuple(given[axis.position][axis.hp.name] for axis in axes)
    return {name: values for name, values in found.items() if not any(isinstance(value, str) for value in values)}


def _chosen(suite: Suite, sweep: Sweep) -> Mapping[str, Any] | None:
    """Return the row of the results table whose setting was chosen on validation for this method and these experts."""
    recipe = sweep.recipe
    name = "+".join((recipe.method, *(key for key, _ in recipe.post)))
    row = stored_lines(suite).get(name, {}).get(CHOSEN)
    return row if row is not None and tuple(row["experts"]) == recipe.experts else None
