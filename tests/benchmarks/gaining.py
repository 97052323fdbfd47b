"""How soon methods that adapt show a gain on the live curve of the page, by their cpu presets."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence

from merge_engine.adapting.adaptive import AdaptiveMerge
from merge_engine.maths.svd import SvdStore
from merge_engine.methods import method_class
from merge_engine.runs.table import CPU, Entry, entries
from merge_engine.suite import Suite, load_suite
from viz.page.workbench import Workbench

MOST = 0.9  # of the final gain
Moment = tuple[float, float]


def every_adaptive_method(methods: Collection[str] = ()) -> Iterator[dict[str, object]]:
    """Press Merge for some methods, all that adapt by default, with no decomposition stored.

    The server has opened its suite, as it does when it starts; the goals are a first gain within 30 s and 90 % of the
    whole within 5 minutes.

    The curve is of 32 pictures a task, as on the page, and seconds include scoring it: when it was above its start
    first, from when on it stayed there, and from when on above 90 % of the way to its last point.
    """
    suite = load_suite("pictures")
    for task in suite.tasks:
        suite.prepared(task, "score")
    suite.problem(suite.experts[:1]).need_inputs("This benchmark").layers()
    for line in entries():
        if methods and line.method not in methods:
            continue
        if issubclass(method_class(line.method), AdaptiveMerge) and not line.post:
            yield _row(line, *_curve(suite, line))


def stays_above(curve: Sequence[Moment], level: float) -> float:
    """Return the seconds of the first moment from which on no value is below a level; NaN where the last one is."""
    found = float("nan")
    for seconds, value in reversed(curve):
        if value < level:
            break
        found = seconds
    return found


def _curve(suite: Suite, line: Entry) -> tuple[list[Moment], float]:
    """Return when which average was on the curve, and the seconds of the whole merge."""
    bench, start, curve, merged = Workbench(svd=SvdStore(folder=None)), time.perf_counter(), [], 0.0
    for run in bench.run(line.recipe(suite, CPU)):
        if run.phase != "merging":
            break
        merged = time.perf_counter() - start
        if len(run.curve) > len(curve):
            curve.append((merged, run.curve[-1].average))
    return curve, merged


def _row(line: Entry, curve: list[Moment], merged: float) -> dict[str, object]:
    (_, begun), (_, ended) = curve[0], curve[-1]
    first = next((seconds for seconds, value in curve if value > begun), float("nan"))
    nearly = begun + MOST * (ended - begun)
    return {
        "method": line.about()["title"], "points": len(curve), "start %": begun, "end %": ended,
        "first gain s": first, "stays s": stays_above(curve[1:], begun + 1e-9), "90 % s": stays_above(curve, nearly),
        "merge s": merged,
    }  # fmt: skip
