"""What a merge learned while it adapted, or keeps apart: masks, coefficients, routes, energies. Knows no Gradio."""

from __future__ import annotations

from collections.abc import Callable, Generator

from merge_engine.adapting.history import History
from merge_engine.runs.run import adapts
from merge_engine.runs.trajectories import STATES
from merge_engine.suite import Suite
from viz import theme
from viz.masks import MaskMap
from viz.panel import Drawing
from viz.panels import coefficient_map, mask_map, route_steps, twin_energy, twin_rank
from viz.panels.coefficient_map import CoefficientMap
from viz.panels.route_steps import RouteSteps

from ..compare.beside import beside
from ..record import Run
from ..session import Session
from ..workbench import Workbench
from .both import Both
from .twins import energy_steps, ranks_part

PANELS = {
    "masks": mask_map,
    "coefficients": coefficient_map,
    "route_steps": route_steps,
    "energy": twin_energy,
    "ranks": twin_rank,
}
REFRESH = 3  # seconds between two drawings while a method adapts
FORGOTTEN = "adapted, but how is not known any more: load it and press Merge"

Parts = dict[str, Drawing | None]


def word_of(run: Run) -> str:
    """Return a word that begins with the run's digest and differs whenever there is more to show of it."""
    moment = str(int(run.merge_seconds // REFRESH)) if run.phase == "merging" else "whole"
    return f"{run.recipe.digest} {moment}"


def learned_steps(
    bench: Workbench, session: Session, word: str, going: Callable[[], bool]
) -> Generator[Parts, None, None]:
    """Yield the panels of the run that a word is about: what is at hand first, then what has to be measured.

    None hides a panel that neither this run nor the pinned one has anything for.
    """
    digest = word.partition(" ")[0]
    recipe = bench.record.recipe_of(digest)
    here = recipe if recipe and recipe.suite == session.suite else None
    both = Both(bench, session, here, beside(bench.record, session, digest))
    yield trajectory_parts(both)
    yield {"ranks": ranks_part(both)}
    yield from energy_steps(both, going)


def trajectory_parts(both: Both) -> Parts:
    """Return the panels of what both runs learned, at the place that the session looks at."""
    suite, place, colors = both.suite, both.place, theme.colors(both.suite.task_of)
    kept = [both.bench.history(recipe) if recipe else None for recipe in both.recipes]
    histories = [None if history is None else history.thinned(STATES) for history in kept]
    gone = histories[1] is None and both.pinned is not None and adapts(both.pinned.recipe)
    words = {"absent": FORGOTTEN if gone else "", "first": "less", "selected": place}
    masks, values, routes = ([of(suite, one) for one in histories] for of in (masks_of, coefficients_of, routes_of))
    return {
        "masks": both.drawn(mask_map, masks, "learns no masks", **words, **place, colors=colors),
        "coefficients": both.drawn(coefficient_map, values, "learns no coefficients", **words),
        "route_steps": both.drawn(route_steps, routes, "learns no routers before its MLPs", **words),
    }


def masks_of(suite: Suite, history: History | None) -> list[MaskMap]:
    """Return the masks of every kept step, over components that a fixed rank would cut.

    That rank is where the masks began; where everything began switched on, it keeps as many as are on at the end.
    """
    if history is None or not history.ranks or not history.states:
        return []
    places = {name: _place(suite, name) for name in history.ranks}
    moments = [MaskMap.of(history, moment, places, top_k=1.0) for moment in range(len(history.states))]
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
