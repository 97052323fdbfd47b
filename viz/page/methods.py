"""What the tab of all methods shows of the pinned run: a dot among the methods, or why there is none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from merge_engine.methods import method_class
from merge_engine.suite import Suite
from viz.panel import Drawing, draw
from viz.panels import method_table
from viz.panels.method_table import MethodPoint

from .compare.beside import UNMEASURED, Beside
from .compare.visit import described
from .headline import answer
from .table import Line, points

FEWER = "{} merges other experts than the table, so it has no dot here."
ALONE = "Without a table, {} has nothing to stand among."
UNKNOWN = "Not all numbers of {} are known, so it has no dot here. Load it and press Merge."
STUDIED = "The panels below are stored studies of methods, at settings of their own: {} is not part of them."


def scatter(suite: Suite, found: Sequence[Line], method: str, pinned: Beside | None) -> Drawing:
    """Return every method's accuracy against its costs, with the pinned run among them, or the words why not."""
    dots = points(found, method)
    if pinned is None or not dots:
        return draw(method_table, dots, aside=ALONE.format(pinned.letter) if pinned else "")
    dot, why = _dot(suite, pinned)
    return draw(method_table, [*dots, *dot], aside=why)


def studied(pinned: Beside | None) -> str:
    """Return what the stored studies say of the pinned run; empty without one."""
    return f'<p class="ms-aside">{escape(STUDIED.format(pinned.letter))}</p>' if pinned else ""


def _dot(suite: Suite, pinned: Beside) -> tuple[list[MethodPoint], str]:
    run, letter, cls = pinned.run, pinned.letter, method_class(pinned.recipe.method)
    if run is None or pinned.recipe.experts != suite.experts:
        return [], (FEWER if run else UNMEASURED).format(letter)
    average = answer(run, [suite.task_of[expert] for expert in suite.experts], {}).average
    if average is None or not math.isfinite(run.stored_parameters):
        return [], UNKNOWN.format(letter)
    title, changed = described(pinned.recipe)
    costs = run.stored_parameters, run.merge_seconds
    told = "task id" in cls.needs
    return [MethodPoint("pinned", f"{letter}: {title}", cls.family, average, *costs, changed, told, True)], ""
