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
from viz.panels.route_input import PinnedAnswer

from ..compare.against import Against, against
from ..compare.beside import beside
from ..drill.knock import said
from ..drill.knocked import Knocked, said_of
from ..own.yours_pictures import SPLIT
from ..record import Run
from ..remaining import Countdown
from ..session import Session
from ..view import Parts, status
from ..workbench import Workbench
from . import inputs
from .case import Case, case_of
from .choice import parsed
from .insight import Input
from .manifold_data import Points, feature_map, points, support_points, unit
from .others import other_cases
from .why import UNASKED, PinnedView, why_steps

BESIDE = 4  # inputs that the experts are asked about along with the chosen one
PATIENCE, PAUSE = 180.0, 0.2  # seconds to wait for a second map, and between two looks
SECOND = "A second map, by UMAP, is being made."


def marks(bench: Workbench, session: Session, shown: str) -> Parts:
    """Return the words that differ whenever the gallery, or the input explained, would show something else."""
    run, choice, pinned = run_of(bench, shown), session.inputs, beside(bench.record, session, shown)
    known = sum(score.n for score in run.scores.values() if score.answers) if run else 0
    about = f"{session.suite} {shown} {known} {pinned.word if pinned else ''}"
    sight = "|".join((about, choice.task, choice.sent, choice.versus, *choice.circled))
    eye = "|".join((about, choice.chosen, *session.knocked)) if choice.chosen else ""
    return {"sight": sight, "eye": eye}


def run_of(bench: Workbench, shown: str) -> Run | None:
    """Return the run that is on a page, by the digest of its recipe."""
    return bench.record.shown(shown) if shown else None


def sight_steps(
    bench: Workbench, session: Session, shown: str, going: Callable[[], bool]
) -> Generator[Parts, None, None]:
    """Yield the bar and the gallery, then the map, and once more when its second view is ready."""
    suite, run, other = load_suite(session.suite), run_of(bench, shown), told_of(bench, session, shown)
    choice = inputs.effective(run, session.inputs, other)
    parts: Parts = {"narrow": inputs.bar(run, choice, other), "gallery": gallery_html(bench, session, shown)}
    given = points(suite, run, choice, other)
    if not choice.chosen:
        parts["why"] = write(route_input, None, aside=other.why if other else "") if given else ""
    if given is None:
        nothing = draw(manifold, None, aside=other.why if other else "")
        yield parts | {"map": map_at_hand(bench, session, shown) or nothing, "looking": status("")}
        return
    yield parts | {"looking": status("Drawing the map of these inputs", tone="busy")}
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
    case, other = case_of(suite, run, *place) if run and place else None, told_of(bench, session, shown)
    why = other.why if other else ""
    if case is None or run is None:
        yield {"why": write(route_input, None, aside=why)}
        return
    ringed = map_at_hand(bench, session, shown)
    if ringed is not None:
        yield {"map": ringed}
    colors, pinned = theme.colors(suite.task_of), _pinned(bench, session, shown, case, other)
    known = [run.recipe, *(p.recipe for p in (beside(bench.record, session, shown),) if p)]
    others = (one for one in other_cases(bench.record, case) if one.run.recipe not in known)
    merged, following, countdown = bench.merged(run.recipe), _following(run, session, other), Countdown()
    both = said_of(run, runs.get(run, session.knocked), case.task, case.index)
    for found in why_steps(bench.insight, case, merged, following, others, pinned):
        if not going():
            return
        if isinstance(found, Step):
            words = f"{found.label[:1].upper()}{found.label[1:]}{countdown.words(found.done, found.total)}"
            yield {"asking": status(words, done=found.done, total=found.total, tone="busy")}
            continue
        if both is not None:
            found = dataclasses.replace(found, merged=both[0], without=both[1], gone=said(session.knocked))
        yield {"why": write(route_input, found, colors=colors, aside=why)}
    yield {"asking": status("")}


def told_of(bench: Workbench, session: Session, shown: str) -> Against | None:
    """Return what the pinned run said about single inputs; None where nothing is pinned."""
    return against(load_suite(session.suite), beside(bench.record, session, shown))


def _pinned(bench: Workbench, session: Session, shown: str, case: Case, other: Against | None) -> PinnedView:
    """Return what the pinned run makes of an input: its answer, and its route where it has the same experts."""
    pinned = beside(bench.record, session, shown)
    there = case_of(case.suite, pinned.run, case.task, case.index) if pinned and pinned.run else None
    if pinned is None or other is None or there is None:
        return UNASKED
    says, right = other.tasks[case.task].of(case.index)
    same = pinned.recipe.experts == case.experts
    card = there.routed(bench.merged(pinned.recipe), f"{other.letter}: {other.title}") if same else None
    return PinnedView(PinnedAnswer(other.letter, other.title, says, right), card)


def gallery_html(bench: Workbench, session: Session, shown: str) -> str:
    """Return the gallery with the chosen input marked, or its empty state."""
    suite, run = load_suite(session.suite), run_of(bench, shown)
    other = told_of(bench, session, shown)
    found, said = inputs.shown(run, session.inputs, other), other.why if other else ""
    if run is None or found is None:
        return write(route_gallery, None, aside=said)
    data, colors = inputs.gallery(suite, run, found, other), theme.colors(suite.task_of)
    return write(route_gallery, data, selected=session.inputs.chosen, colors=colors, aside=said)


def _following(run: Run, session: Session, other: Against | None) -> list[Input]:
    """Return the inputs that follow the chosen one in the gallery, which are likely to be chosen next."""
    found = inputs.shown(run, session.inputs, other)
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
    other = told_of(bench, session, shown)
    given = points(suite, run, session.inputs, other) or support_points(suite, experts, other.why if other else "")
    known = [bench.insight.feature(suite, "", one) for one in given.inputs]
    features = [feature.numpy() for feature in known if feature is not None]
    return (given, np.stack(features)) if features and len(features) == len(known) else None


def _map(
    bench: Workbench, session: Session, given: Points, features: np.ndarray, near: np.ndarray | None
) -> Drawing:
    suite, number = load_suite(session.suite), session.inputs.yours
    yours = None if number is None else bench.insight.feature(suite, "", ("", SPLIT, number))
    own = None if yours is None else bench.near.get(yours_key(given, number))
    data = feature_map(given, features, near, None if yours is None else yours.numpy(), own)
    place, colors, first = given.place(session.inputs.chosen), theme.colors(suite.task_of), "pca_against"
    return draw(manifold, data, chosen=place, colors=colors, view=first if given.fares else None, aside=given.why)


def yours_key(given: Points, number: int | None) -> str:
    """Return the word for the place of a visitor's own picture on a second map."""
    return f"{given.key} {number}"


def _read(
    bench: Workbench, session: Session, given: Points, going: Callable[[], bool]
) -> Generator[Parts, None, np.ndarray | None]:
    """Read the features (N, D) of the points, telling how far it is; None when nobody waits any more."""
    steps, countdown = bench.insight.feature_steps(load_suite(session.suite), given.inputs), Countdown()
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value.numpy()
        if not going():
            return None
        words = f"Reading the inputs for the map{countdown.words(step.done, step.total)}"
        yield {"looking": status(words, done=step.done, total=step.total, tone="busy")}


def waited(bench: Workbench, key: str, going: Callable[[], bool]) -> bool:
    """Wait for a second map, or for a place on one; returns whether it came."""
    until = time.monotonic() + PATIENCE
    while going() and not bench.near.settled(key) and time.monotonic() < until:
        time.sleep(PAUSE)
    return going() and bench.near.settled(key)
