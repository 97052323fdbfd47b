"""What the tab of inputs shows, drawn as it becomes known: the gallery at once, then the map, then one input explained.

Knows no Gradio. Everything long is a generator of parts that ends when its `going()` turns false.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Generator

import numpy as np

from merge_engine.contract import Step
from merge_engine.suite import load_suite
from viz import theme
from viz.panel import Drawing, draw, write
from viz.panels import manifold, route_gallery, route_input

from ..drill.knock import said
from ..drill.knocked import Knocked, said_of
from ..own.yours_pictures import SPLIT
from ..record import Run
from ..session import Session
from ..view import Parts, status
from ..workbench import Workbench
from . import inputs
from .case import case_of
from .choice import parsed
from .insight import Input
from .manifold_data import Points, feature_map, points, support_points, unit
from .others import other_cases
from .why import why_steps

BESIDE = 4  # inputs that the experts are asked about along with the chosen one
PATIENCE, PAUSE = 180.0, 0.2  # seconds to wait for a second map, and between two looks
SECOND = "A second map, by UMAP, is being made."


def marks(bench: Workbench, session: Session, shown: str) -> Parts:
    """Return the words that differ whenever the gallery, or the input explained, would show something else."""
    run, choice = run_of(bench, shown), session.inputs
    known = sum(score.n for score in run.scores.values() if score.answers) if run else 0
    about = f"{session.suite} {shown} {known}"
    sight = "|".join((about, choice.task, choice.sent, *choice.circled))
    eye = "|".join((about, choice.chosen, *session.knocked)) if choice.chosen else ""
    return {"sight": sight, "eye": eye}


def run_of(bench: Workbench, shown: str) -> Run | None:
    """Return the run that is on a page, by the digest of its recipe."""
    return bench.record.shown(shown) if shown else None


def sight_steps(
    bench: Workbench, session: Session, shown: str, going: Callable[[], bool]
) -> Generator[Parts, None, None]:
    """Yield the bar and the gallery, then the map, and once more when its second view is ready."""
    suite, run = load_suite(session.suite), run_of(bench, shown)
    choice = inputs.effective(run, session.inputs)
    parts: Parts = {"narrow": inputs.bar(run, choice), "gallery": gallery_html(bench, session, shown)}
    given = points(suite, run, choice)
    if not choice.chosen:
        parts["why"] = write(route_input, None) if given else ""
    if given is None:
        yield parts | {"map": map_at_hand(bench, session, shown) or draw(manifold, None), "looking": status("")}
        return
    yield parts
    features = yield from _read(bench, session, given, going)
    if features is None:
        return
    near = bench.near.get(given.key)
    yield {"map": _map(bench, session, given, features, near), "looking": status("" if near is not None else SECOND)}
    if near is None:
        bench.near.ask(given.key, unit(features))
        if waited(bench, given.key, going):
            yield {"map": _map(bench, session, given, features, bench.near.get(given.key)), "looking": status("")}


def eye_steps(
    bench: Workbench, runs: Knocked, session: Session, shown: str, going: Callable[[], bool]
) -> Generator[Parts, None, None]:
    """Yield the chosen input and what is made of it, more and more, with its ring on the map.

    Where `runs` know what the merge says without what is knocked out of it, both stand side by side.
    """
    suite, run, place = load_suite(session.suite), run_of(bench, shown), parsed(session.inputs.chosen)
    case = case_of(suite, run, *place) if run and place else None
    if case is None or run is None:
        yield {"why": write(route_input, None)}
        return
    ringed = map_at_hand(bench, session, shown)
    if ringed is not None:
        yield {"map": ringed}
    colors = theme.colors(suite.task_of)
    beside, both = _beside(run, session), said_of(run, runs.get(run, session.knocked), case.task, case.index)
    for found in why_steps(bench.insight, case, bench.merged(run.recipe), beside, other_cases(bench.record, case)):
        if not going():
            return
        if isinstance(found, Step):
            words = f"{found.label[:1].upper()}{found.label[1:]}"
            yield {"asking": status(words, done=found.done, total=found.total, tone="busy")}
            continue
        if both is not None:
            found = dataclasses.replace(found, merged=both[0], without=both[1], gone=said(session.knocked))
        yield {"why": write(route_input, found, colors=colors)}
    yield {"asking": status("")}


def gallery_html(bench: Workbench, session: Session, shown: str) -> str:
    """Return the gallery with the chosen input marked, or its empty state."""
    suite, run = load_suite(session.suite), run_of(bench, shown)
    found = inputs.shown(run, session.inputs)
    if run is None or found is None:
        return write(route_gallery, None)
    colors = theme.colors(suite.task_of)
    return write(route_gallery, inputs.gallery(suite, run, found), selected=session.inputs.chosen, colors=colors)


def _beside(run: Run, session: Session) -> list[Input]:
    """Return the inputs that follow the chosen one in the gallery, which are likely to be chosen next."""
    found = inputs.shown(run, session.inputs)
    keys, chosen = found.keys() if found else (), session.inputs.chosen
    start = keys.index(chosen) + 1 if chosen in keys else len(keys)
    return [(task, "score", index) for task, index in filter(None, map(parsed, keys[start : start + BESIDE]))]


def map_at_hand(bench: Workbench, session: Session, shown: str) -> Drawing | None:
    """Return the map if the features of all its points are known.

    Where nothing is known of single inputs, that is the map of the support set alone.
    """
    found = known_points(bench, session, shown)
    return None if found is None else _map(bench, session, *found, bench.near.get(found[0].key))


def known_points(bench: Workbench, session: Session, shown: str) -> tuple[Points, np.ndarray] | None:
    """Return the points of the map with their features (N, D), where all of those are known."""
    suite, run = load_suite(session.suite), run_of(bench, shown)
    experts = run.recipe.experts if run else session.experts
    given = points(suite, run, session.inputs) or support_points(suite, experts)
    known = [bench.insight.feature(suite, "", one) for one in given.inputs]
    features = [feature.numpy() for feature in known if feature is not None]
    return (given, np.stack(features)) if features and len(features) == len(known) else None


def _map(
    bench: Workbench, session: Session, given: Points, features: np.ndarray, near: np.ndarray | None
) -> Drawing:
    suite, number = load_suite(session.suite), session.inputs.yours
    yours = None if number is None else bench.insight.feature(suite, "", ("", SPLIT, number))
    place = None if yours is None else bench.near.get(yours_key(given, number))
    data = feature_map(given, features, near, None if yours is None else yours.numpy(), place)
    return draw(manifold, data, chosen=given.place(session.inputs.chosen), colors=theme.colors(suite.task_of))


def yours_key(given: Points, number: int | None) -> str:
    """Return the word for the place of a visitor's own picture on a second map."""
    return f"{given.key} {number}"


def _read(
    bench: Workbench, session: Session, given: Points, going: Callable[[], bool]
) -> Generator[Parts, None, np.ndarray | None]:
    """Read the features (N, D) of the points, telling how far it is; None when nobody waits any more."""
    steps = bench.insight.feature_steps(load_suite(session.suite), given.inputs)
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value.numpy()
        if not going():
            return None
        yield {"looking": status("Reading the inputs for the map", done=step.done, total=step.total, tone="busy")}


def waited(bench: Workbench, key: str, going: Callable[[], bool]) -> bool:
    """Wait for a second map, or for a place on one; returns whether it came."""
    until = time.monotonic() + PATIENCE
    while going() and not bench.near.settled(key) and time.monotonic() < until:
        time.sleep(PAUSE)
    return going() and bench.near.settled(key)
