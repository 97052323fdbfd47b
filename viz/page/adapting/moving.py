"""What a merge that adapts or routes shows beside its accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from merge_engine.adapting.history import History
from merge_engine.adapting.live import PICTURES
from merge_engine.answers import LayerWeights, Place
from merge_engine.hp import declared
from merge_engine.methods import method_class
from merge_engine.problem import MATRIX_KINDS
from merge_engine.suite import Suite
from viz.panel import Drawing, draw
from viz.panels import live_accuracy, route_confusion, route_depth

from ..record import Pairs, Run

PANELS = {"curve": live_accuracy, "routes": route_confusion, "layers": route_depth}
PRIOR = "prior"  # hyper-parameter of learned routers: the weight that every expert starts from


def moving_parts(
    suite: Suite, run: Run | None, own: Sequence[str], baselines: Pairs, average: float | None,
    colors: dict[str, str], deep: str = "", history: History | None = None,
) -> dict[str, Drawing | None]:  # fmt: skip
    """Return the curve of an adaptation and the routes of the inputs; None where there is none, which hides it.

    `deep` is the task whose routing by depth is shown, all of them where it is empty.
    """
    entropy = {} if history is None else entropy_of(suite, history, own)
    curve = _curve(run, own, baselines, average, colors, entropy)
    return {"curve": curve, "routes": _routes(suite, run), "layers": layers(run, deep)}


def layers(run: Run | None, deep: str = "") -> Drawing | None:
    """Return the experts' weights by layer, None where only one decision is made for all layers."""
    scores = run.scores if run else {}
    found = {task: score.by_layer for task, score in scores.items() if score.by_layer is not None}
    if run is None or not found or max(len(each.places) for each in found.values()) < 2:
        return None
    places, order = _in_order(next(iter(found.values())).places)
    means = {task: (each.mean[order], each.largest[order], each.n) for task, each in found.items()}
    data = route_depth.RouteDepth.of_means(means, run.recipe.experts, places, **_level(run, list(found.values())))
    return draw(route_depth, data, task=deep if deep in means else None)


def _in_order(places: Sequence[Place]) -> tuple[tuple[Place, ...], list[int]]:
    """Return the layers from input to output, kinds inside a block as everywhere on the page, and their positions."""
    known = {kind: i for i, kind in enumerate(MATRIX_KINDS)}
    order = sorted(range(len(places)), key=lambda i: (places[i][0] or 0, known.get(places[i][1], len(known))))
    return tuple(places[i] for i in order), order


def _level(run: Run, found: Sequence[LayerWeights]) -> dict[str, Any]:
    """Return what a weight would be without a decision: even shares, or where learned routers started."""
    signed = min(float(each.mean.min()) for each in found) < 0
    if not signed and all(np.allclose(each.mean.sum(1), 1, atol=1e-2) for each in found):
        return {"signed": False, "level": 1 / len(run.recipe.experts), "word": "even"}
    given = {n: hp.default for n, hp in declared(method_class(run.recipe.method)).items()} | dict(run.recipe.parameters)
    return {"signed": signed, "level": given.get(PRIOR), "word": "start"}


def entropy_of(suite: Suite, history: History, own: Sequence[str]) -> dict[str, np.ndarray]:
    """Return the entropy after every update, and where it was minimised that of every task at both `ends`.

    An end is a sixth of the updates, (2, T) in nats.
    """
    seen, tasks = np.array(history.entropy), [suite.task_of.get(expert) for expert in history.tasks]
    if not len(seen) or any(task not in tasks for task in own):
        return {}
    found = {"entropy_steps": np.arange(1, len(seen) + 1), "entropy": seen.mean(1)}
    if "distance" in history.states[0]:
        return found
    part, columns = max(1, len(seen) // 6), [tasks.index(task) for task in own]
    return {**found, "ends": np.stack([seen[:part].mean(0), seen[-part:].mean(0)])[:, columns]}


def _curve(
    run: Run | None, own: Sequence[str], baselines: Pairs, average: float | None, colors: dict[str, str],
    entropy: Mapping[str, np.ndarray],
) -> Drawing | None:  # fmt: skip
    if run is None or not run.curve:
        return None
    before, alone = zip(*(baselines.get(task, (None, None)) for task in own), strict=True)
    known = {"pretrained": _mean(before), "experts": _mean(alone), "plain average": average}
    references = {name: value for name, value in known.items() if value is not None}
    total = run.step.total if run.phase == "merging" else run.curve[-1].step
    more = {"references": references, "total": total, "pictures": PICTURES, **entropy}
    return draw(live_accuracy, live_accuracy.LiveAccuracy.of(run.curve, own, **more), colors=colors)


def _routes(suite: Suite, run: Run | None) -> Drawing | None:
    routed = {task: score.routed for task, score in run.scores.items()} if run else {}
    if run is None or not any(routed.values()):
        return None
    return draw(route_confusion, route_confusion.RouteConfusion.of(routed, run.recipe.experts))


def _mean(found: Sequence) -> float | None:
    values = [baseline.accuracy() for baseline in found if baseline is not None]
    return sum(values) / len(values) if values and len(values) == len(found) else None
