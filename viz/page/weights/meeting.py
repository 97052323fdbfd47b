"""Where two experts meet most: from a cell of a map of pairs to one matrix."""

from __future__ import annotations

import numpy as np

from merge_engine.metrics import Measured, registry
from viz import places

from ..plotly_panel import Selection
from ..workbench import Workbench
from .lenses import Focus, ask

MAPS = ("interference", "overlap")
SIDES = {"left": "overlap_left", "right": "overlap_right"}  # views of the overlap, as quantities


def meeting(bench: Workbench, focus: Focus, chosen: Selection) -> tuple[int, str] | None:
    """Return block and kind of the matrix in which the chosen pair is furthest from chance; None where not measured."""
    if chosen.expert == chosen.other or chosen.panel not in MAPS:
        return None
    measured = bench.measures.widest(ask(bench, focus, chosen.panel))
    view = chosen.view or registry()[focus.metric].headline  # a map of one quantity has no views to choose from
    return None if measured is None else furthest(measured, SIDES.get(view, view), chosen)


def furthest(measured: Measured, quantity: str, chosen: Selection) -> tuple[int, str] | None:
    """Return the matrix where a pair's value is furthest from chance, or from 0 where chance has no level."""
    declared, models = measured.quantities(), tuple(measured.models)
    if quantity not in declared or "other" not in declared[quantity].axes:
        return None
    if chosen.expert not in models or chosen.other not in models:
        return None
    i, j = models.index(chosen.expert), models.index(chosen.other)
    away = np.abs(getattr(measured, quantity) - np.nan_to_num(places.chance(measured, quantity)))[:, i, j]
    found = [
        (value, r.block, r.kind)
        for value, r in zip(away, measured.rows, strict=True)
        if r.level == "tensor" and r.block is not None and r.kind in places.KINDS and np.isfinite(value)
    ]
    return max(found)[1:] if found else None
