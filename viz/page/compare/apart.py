"""Where the weights of the two pinned runs differ, for their panel."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np

from merge_engine.merged import Merged, StaticMerged
from merge_engine.places import matrices
from merge_engine.runs.recipe import Recipe
from merge_engine.suite import Suite, load_suite
from viz.panel import Drawing, draw, empty
from viz.panels import apart
from viz.panels.apart import Apart

from ..session import Session
from ..weights.pinned import not_a_model
from ..workbench import Workbench
from .comparison import of_suite, recipe_at

KEPT = 16
MEASURING = "Measuring where the weights of A and B differ …"


class Aparts:
    """What was measured of pairs of merges on one workbench, the latest ones."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self._known: OrderedDict[tuple[str, ...], Apart] = OrderedDict()

    def at_once(self, session: Session) -> Drawing | None:
        """Return what the panel of the pinned runs shows while they are measured; None where two are not pinned."""
        recipes = _pinned(session)
        if not recipes or _key(recipes) in self._known:
            return self.part(session)
        return Drawing({"": empty(MEASURING, panel="apart")}, {}, "")

    def part(self, session: Session) -> Drawing | None:
        """Return the panel of the pinned runs; None where two are not pinned."""
        recipes = _pinned(session)
        if not recipes:
            return None
        key = _key(recipes)
        if key not in self._known:
            a, b = (self.bench.merged(recipe) for recipe in recipes)
            if not (isinstance(a, StaticMerged) and isinstance(b, StaticMerged)):
                return Drawing({"": empty(_why(a, b), panel="apart")}, {}, "")
            self._known[key] = measured(load_suite(session.suite), a, b)
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        place = {"block": session.block, "kind": session.kind}
        return draw(apart, self._known[key], selected=place)


def _pinned(session: Session) -> list[Recipe]:
    """Return the recipes of both pinned runs; none where two are not pinned."""
    pins = of_suite(session.comparison, session.suite).pins
    return [recipe_at(link) for link in pins] if all(pins) else []


def _key(recipes: list[Recipe]) -> tuple[str, ...]:
    return tuple(recipe.digest for recipe in recipes)


def _why(*merged: Merged | None) -> str:
    """Return why the weights of A and B cannot be compared, in a sentence about the first that stands in the way."""
    return next(why for letter, one in zip("AB", merged, strict=True) if (why := not_a_model(one, letter)))


def measured(suite: Suite, a: StaticMerged, b: StaticMerged) -> Apart:
    """Return lengths and inner products of two merged task vectors by matrix."""
    blocks, kinds, norms, inner = [], [], [], []
    for name in matrices(suite):
        place = suite.backbone.place(name)
        if place.block is None or name not in a.direction or name not in b.direction:
            continue
        first, second = (one.task_vector(name).double().flatten() for one in (a, b))
        blocks.append(place.block)
        kinds.append(place.kind)
        norms.append((float(first.norm()), float(second.norm())))
        inner.append(float(first @ second))
    return Apart(tuple(blocks), tuple(kinds), np.array(norms), np.array(inner))
