"""What a merge that adapts or routes shows beside its accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from merge_engine.adapting.history import History
from merge_engine.adapting.live import PICTURES
from merge_engine.suite import Suite
from viz.panel import Drawing, draw
from viz.panels import live_accuracy, route_confusion

from .record import Pairs, Run

PANELS = {"curve": live_accuracy, "routes": route_confusion}


def moving_parts(
    suite: Suite, run: Run | None, own: Sequence[str], baselines: Pairs, average: float | None,
    colors: dict[str, str], history: History | None = None,
) -> dict[str, Drawing | None]:  # fmt: skip
    """Return the curve of an adaptation and the routes of the inputs; None where there is none, which hides it."""
    ends = None if history is None else ends_of(suite, history, own)
    return {"curve": _curve(run, own, baselines, average, colors, ends), "routes": _routes(suite, run)}


def ends_of(suite: Suite, history: History, own: Sequence[str]) -> np.ndarray | None:
    """Return the entropy of every task over the first and the last sixth of the updates, (2, T) in nats.

    None where it was not the entropy that was minimised.
    """
    seen, tasks = np.array(history.entropy), [suite.task_of.get(expert) for expert in history.tasks]
    if not len(seen) or "distance" in history.states[0] or any(task not in tasks for task in own):
        return None
    part, columns = max(1, len(seen) // 6), [tasks.index(task) for task in own]
    return np.stack([seen[:part].mean(0), seen[-part:].mean(0)])[:, columns]


def _curve(
    run: Run | None, own: Sequence[str], baselines: Pairs, average: float | None, colors: dict[str, str],
    ends: np.ndarray | None,
) -> Drawing | None:  # fmt: skip
    if run is None or not run.curve:
        return None
    before, alone = zip(*(baselines.get(task, (None, None)) for task in own), strict=True)
    known = {"pretrained": _mean(before), "experts": _mean(alone), "plain average": average}
    references = {name: value for name, value in known.items() if value is not None}
    total = run.step.total if run.phase == "merging" else run.curve[-1].step
    more = {"references": references, "total": total, "pictures": PICTURES, "ends": ends}
    return draw(live_accuracy, live_accuracy.LiveAccuracy.of(run.curve, own, **more), colors=colors)


def _routes(suite: Suite, run: Run | None) -> Drawing | None:
    routed = {task: score.routed for task, score in run.scores.items()} if run else {}
    if run is None or not any(routed.values()):
        return None
    return draw(route_confusion, route_confusion.RouteConfusion.of(routed, run.recipe.experts))


def _mean(found: Sequence) -> float | None:
    values = [baseline.accuracy() for baseline in found if baseline is not None]
    return sum(values) / len(values) if values and len(values) == len(found) else None
