"""What a merge learned while it adapted, or keeps apart: masks, coefficients, routes, energies. Knows no Gradio."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator

import numpy as np

from merge_engine.adapting.history import History
from merge_engine.routing.twin_energy import is_twin
from merge_engine.runs.recipe import Recipe
from merge_engine.runs.run import own_tasks
from merge_engine.runs.trajectories import STATES
from merge_engine.suite import Suite, load_suite
from viz import theme
from viz.masks import MaskMap
from viz.panel import Drawing, draw
from viz.panels import coefficient_map, mask_map, route_steps, twin_energy, twin_rank
from viz.panels.coefficient_map import CoefficientMap
from viz.panels.route_steps import RouteSteps
from viz.panels.twin_energy import TwinEnergy
from viz.panels.twin_rank import RankCurve

from ..record import Run, model_size
from ..session import Session
from ..workbench import Workbench

PANELS = {
    "masks": mask_map,
    "coefficients": coefficient_map,
    "route_steps": route_steps,
    "energy": twin_energy,
    "ranks": twin_rank,
}
RANK = "rank_share"  # hyper-parameter of Twin-Merging
REFRESH = 3  # seconds between two drawings while a method adapts
BYTES = 4  # of a stored number
PATIENCE = 0.1  # seconds between two looks whether a merge still runs

Parts = dict[str, Drawing | None]


def word_of(run: Run) -> str:
    """Return a word that begins with the run's digest and differs whenever there is more to show of it."""
    moment = str(int(run.merge_seconds // REFRESH)) if run.phase == "merging" else "whole"
    return f"{run.recipe.digest} {moment}"


def learned_steps(
    bench: Workbench, session: Session, word: str, going: Callable[[], bool]
) -> Generator[Parts, None, None]:
    """Yield the panels of the run that a word is about: what is at hand first, then what has to be measured.

    None hides a panel that the run has nothing for.
    """
    recipe = bench.record.recipe_of(word.partition(" ")[0])
    if recipe is None:
        yield dict.fromkeys(PANELS)
        return
    yield trajectory_parts(load_suite(recipe.suite), bench.history(recipe), session)
    yield {"ranks": ranks_part(bench, recipe)}
    yield from _energy(bench, recipe, session, going)


def trajectory_parts(suite: Suite, history: History | None, session: Session) -> Parts:
    """Return the panels of a history, at the place that the session looks at."""
    kept = None if history is None else history.thinned(STATES)
    place = {"block": session.block, "kind": session.kind}
    colors = theme.colors(suite.task_of)
    maps, values, routes = masks_of(suite, kept), coefficients_of(suite, kept), routes_of(suite, kept)
    return {
        "masks": draw(mask_map, maps, **place, colors=colors, selected=place) if maps else None,
        "coefficients": draw(coefficient_map, values, selected=place) if values else None,
        "route_steps": draw(route_steps, routes, selected=place) if routes else None,
    }


def masks_of(suite: Suite, history: History | None) -> list[MaskMap]:
    """Return the masks of every kept step, over components that a fixed rank would cut.

    That rank is where the masks began; where everything began switched on, it keeps as many as are on at the end.
    """
    if history is None or not history.ranks or not history.states:
        return []
    start, places = history.states[0], {name: _place(suite, name) for name in history.ranks}
    moments = [
        MaskMap.of(state, start, history.tasks, history.ranks, places, top_k=1.0, step=step)
        for step, state in zip(history.steps, history.states, strict=True)
    ]
    share = _share(moments[0]) if _share(moments[0]) < 1 else _share(moments[-1])
    return [moment.cut_at(share) for moment in moments]


def coefficients_of(suite: Suite, history: History | None) -> list[CoefficientMap]:
    """Return the merging coefficients of every kept step."""
    if history is None or not history.states or "coefficients" not in history.states[0]:
        return []
    start, places = history.states[0]["coefficients"], tuple(_place(suite, name) for name in history.tensors)
    moments = zip(history.steps, history.states, strict=True)
    return [CoefficientMap(history.tasks, places, state["coefficients"], start, step) for step, state in moments]


def routes_of(suite: Suite, history: History | None) -> RouteSteps | None:
    """Return the routing weights of every kept step; None where no router in front of the MLPs learned."""
    if history is None or not history.states or "routes" not in history.states[0]:
        return None
    weights, blocks = history.over_time("routes"), _mlp_blocks(suite)
    if weights.shape[2] != len(blocks):
        return None
    tasks = tuple(suite.task_of.get(expert, expert) for expert in history.tasks)
    return RouteSteps(tasks, history.tasks, blocks, tuple(history.steps), weights)


def ranks_part(bench: Workbench, recipe: Recipe) -> Drawing | None:
    """Return accuracy and bytes of Twin-Merging at the ranks that were measured so far, where there are several."""
    found = bench.record.varied(recipe, RANK) if recipe.method == "twin_merging" else []
    if len(found) < 2:
        return None
    suite, last = load_suite(recipe.suite), found[-1]
    tasks, size = own_tasks(suite, recipe), BYTES * model_size(suite)
    colors = {suite.task_of[expert]: color for expert, color in theme.colors(suite.task_of).items()}
    alone = zip(*((last.accuracy[t].pretrained, last.accuracy[t].expert) for t in tasks), strict=True)
    known = dict(zip(("pretrained", "experts"), alone, strict=True))
    data = RankCurve(
        tasks, np.array([result.parameters[RANK] for result in found]),
        np.array([[result.accuracy[task].merged for task in tasks] for result in found]),
        np.array([BYTES * result.stored_parameters for result in found]), dict(recipe.parameters)[RANK],
        {name: float(np.mean(values)) for name, values in known.items() if None not in values},
        {"one model": size, "all experts": size * len(recipe.experts)},
    )  # fmt: skip
    return draw(twin_rank, data, colors=colors)


def _energy(
    bench: Workbench, recipe: Recipe, session: Session, going: Callable[[], bool]
) -> Generator[Parts, None, None]:
    """Measure the energies of a Twin merge when nobody merges, and draw them; hide the panel for other merges."""
    if not is_twin(bench.merged(recipe)):
        yield {"energy": None}
        return
    while bench.busy and going():
        time.sleep(PATIENCE)
    found = bench.energies(recipe, going)
    if found is not None:
        data = TwinEnergy(found.experts, found.blocks, found.shared, found.exclusive, found.kept)
        yield {"energy": draw(twin_energy, data, selected={"block": session.block, "kind": session.kind})}


def _share(data: MaskMap) -> float:
    """Return the share of all components that is on."""
    return sum(int(m.sum()) for m in data.masks) / sum(m.size for m in data.masks)


def _mlp_blocks(suite: Suite) -> tuple[int, ...]:
    """Return the blocks that have an MLP, in order."""
    places = {_place(suite, name) for name in suite.pretrained}
    return tuple(sorted({block for block, kind in places if block is not None and kind in ("fc1", "fc2")}))


def _place(suite: Suite, name: str) -> tuple[int | None, str]:
    found = suite.backbone.place(name)
    return found.block, found.kind
