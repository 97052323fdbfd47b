"""What a merge that adapts or routes shows beside its accuracy, and beside the pinned run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from merge_engine.adapting.history import History
from merge_engine.adapting.live import PICTURES
from merge_engine.answers import LayerWeights, Place
from merge_engine.hp import declared
from merge_engine.methods import method_class
from merge_engine.problem import MATRIX_KINDS
from merge_engine.runs.run import adapts, own_tasks
from merge_engine.suite import Suite, load_suite
from viz.panel import Drawing
from viz.panels import live_accuracy, route_confusion, route_depth
from viz.panels.live_accuracy import LiveAccuracy
from viz.panels.route_confusion import RouteConfusion
from viz.panels.route_depth import RouteDepth

from ..colors import task_colors
from ..compare.beside import Beside, together
from ..headline import answer
from ..record import Run
from ..session import Session
from ..workbench import Workbench

PANELS = {"curve": live_accuracy, "routes": route_confusion, "layers": route_depth}
PRIOR = "prior"  # hyper-parameter of learned routers: the weight that every expert starts from
UNTOLD = "is a stored result without its routes by layer: load it and press Merge"
OTHER_TASKS = "{} merges experts of other tasks, so its average is another one."
FLAT = "does not adapt, so it has no curve: its accuracy on all test pictures is the dashed line {}"


def moving_parts(
    bench: Workbench, session: Session, run: Run | None, pinned: Beside | None, average: float | None
) -> dict[str, Drawing | None]:
    """Return the curve of an adaptation and the routes of the inputs; None where there is none, which hides it.

    `average` is the accuracy of the plain average of the same experts.
    """
    return {
        "curve": _curve(bench, session, run, pinned, average),
        "routes": _routes(run, pinned),
        "layers": layers(run, pinned, session.inputs.deep),
    }


def layers(run: Run | None, pinned: Beside | None, deep: str = "") -> Drawing | None:
    """Return the experts' weights by layer, None where only one decision is made for all layers.

    `deep` is the task whose weights are shown, all of them where it is empty.
    """
    own, other, recipe = depth_of(run), depth_of(pinned.run if pinned else None), run.recipe if run else None
    drawn, differs = own or other, pinned.strange(recipe) if pinned else ""
    task = deep if drawn and deep in drawn.tasks else None
    other_run, routed = (pinned.run, method_class(pinned.recipe.method).kind == "routed") if pinned else (None, False)
    absent = UNTOLD if routed and other_run and not other_run.knows else ""
    words = {"lacks": "does not route layer by layer", "absent": absent, "differs": differs, "first": "less"}
    return together(route_depth, recipe, pinned, (own, other), **words, task=task)


def depth_of(run: Run | None) -> RouteDepth | None:
    """Return the experts' weights by layer, None where only one decision is made for all layers."""
    scores = run.scores if run else {}
    found = {task: score.by_layer for task, score in scores.items() if score.by_layer is not None}
    if run is None or not found or max(len(each.places) for each in found.values()) < 2:
        return None
    places, order = _in_order(next(iter(found.values())).places)
    means = {task: (each.mean[order], each.largest[order], each.n) for task, each in found.items()}
    return RouteDepth.of_means(means, run.recipe.experts, places, **_level(run, list(found.values())))


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
    bench: Workbench, session: Session, run: Run | None, pinned: Beside | None, average: float | None
) -> Drawing | None:
    suite, other_run = load_suite(session.suite), pinned.run if pinned else None
    own, other = curve_of(bench, suite, run, average), curve_of(bench, suite, other_run, None)
    absent = ""
    if own and pinned and other_run and not other:
        level = answer(other_run, own.tasks, {}).average
        known = {} if level is None else {pinned.letter: level}
        own = dataclasses.replace(own, references={**own.references, **known})
        flat = known and not adapts(pinned.recipe)
        absent = FLAT.format(pinned.letter) if flat else "was not watched while it adapted"
    differs = OTHER_TASKS.format(pinned.letter) if pinned and own and other and own.tasks != other.tasks else ""
    words = {"lacks": "does not adapt", "absent": absent, "differs": differs, "colors": task_colors(suite)}
    return together(live_accuracy, run.recipe if run else None, pinned, (own, other), **words)


def curve_of(bench: Workbench, suite: Suite, run: Run | None, average: float | None) -> LiveAccuracy | None:
    """Return how a run adapted, None where it did not; `average` is the accuracy of the plain average."""
    if run is None or not run.curve:
        return None
    tasks, history = own_tasks(suite, run.recipe), bench.history(run.recipe)
    baselines = bench.record.baselines(suite.name)
    before, alone = zip(*(baselines.get(task, (None, None)) for task in tasks), strict=True)
    known = {"pretrained": _mean(before), "experts": _mean(alone), "plain average": average}
    references = {name: value for name, value in known.items() if value is not None}
    total = run.step.total if run.phase == "merging" else run.curve[-1].step
    entropy = {} if history is None else entropy_of(suite, history, tasks)
    return LiveAccuracy.of(run.curve, tasks, references=references, total=total, pictures=PICTURES, **entropy)


def _routes(run: Run | None, pinned: Beside | None) -> Drawing | None:
    own, other, recipe = confusion_of(run), confusion_of(pinned.run if pinned else None), run.recipe if run else None
    differs = pinned.strange(recipe) if pinned else ""
    return together(route_confusion, recipe, pinned, (own, other), "chooses no expert", differs=differs)


def confusion_of(run: Run | None) -> RouteConfusion | None:
    """Return which experts the inputs of a run were sent to, None where they were not sent."""
    routed = {task: score.routed for task, score in run.scores.items()} if run else {}
    return RouteConfusion.of(routed, run.recipe.experts) if run and any(routed.values()) else None


def _mean(found: Sequence) -> float | None:
    values = [baseline.accuracy() for baseline in found if baseline is not None]
    return sum(values) / len(values) if values and len(values) == len(found) else None
