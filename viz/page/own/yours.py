"""What is made of a visitor's own picture, drawn as it becomes known.

The merge answers first, then come routers, the map, experts and other merges. Knows no Gradio. All are generators of
parts that end when `going()` turns false.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator

import numpy as np

from merge_engine.blind import Reply
from merge_engine.contract import Step
from merge_engine.hp import declared
from merge_engine.merged import Merged
from merge_engine.methods import method_class
from merge_engine.routing.routed import RoutedMerged
from merge_engine.runs.recipe import Recipe
from merge_engine.suite import Suite, load_suite
from viz import theme
from viz.panel import write
from viz.panels import route_input, yours_answer
from viz.panels.route_input import InputView
from viz.panels.yours_answer import HeadLine, MergeLine, YoursAnswer

from ..inputs.case import OWN, WORDS
from ..inputs.manifold_data import unit
from ..inputs.sight import known_points, map_at_hand, run_of, waited, yours_key
from ..inputs.why import why_steps
from ..record import Run
from ..session import Session
from ..view import Parts, status, task_colors
from ..workbench import Workbench, direction_key
from .usual import STRANGE, compared
from .yours_case import YoursCase
from .yours_pictures import SPLIT

OTHERS = 8  # merges in memory that are asked too
GONE = "This picture is no longer in memory; draw it again."
NOBODY = "No expert is chosen; choose at least one on the tab Merge."
UNMERGED = "Nothing is merged yet: press Merge on the tab Merge to see what the merged model answers."
STORED = "The weights of this merge are not in memory, only its stored result: press Merge to ask it."
Going = Callable[[], bool]


def mark(session: Session, shown: str) -> str:
    """Return the word that differs whenever something else would be said about the picture; empty without one."""
    number = session.inputs.yours
    return "" if number is None else "|".join((session.suite, ",".join(session.experts), shown, str(number)))


def yours_steps(bench: Workbench, session: Session, shown: str, going: Going) -> Generator[Parts, None, None]:
    """Yield what is made of the visitor's picture, more and more of it; empty parts where there is none."""
    case = case_of(bench, session, shown)
    if case is None:
        yield {"replies": "", "yours_why": "", "replying": status(_missing(session)), **_map(bench, session, shown)}
        return
    run, colors = run_of(bench, shown), task_colors(case.suite)
    merged = bench.merged(run.recipe) if run else None
    answer = YoursAnswer(case.picture, None, absent=STORED if run else UNMERGED)
    if run is not None and merged is not None:
        said = _asked(bench, case, run.recipe, merged)
        case = dataclasses.replace(case, reply=said)
        answer = dataclasses.replace(answer, merge=line_of(case.suite, run.recipe, said), absent="")
    yield {"replies": write(yours_answer, answer, colors=colors)}
    for found in _explained(bench, session, shown, case, merged, going):
        if isinstance(found, InputView):
            far = far_of(found)
            if far != answer.far:
                answer = dataclasses.replace(answer, far=far)
                yield {"replies": write(yours_answer, answer, colors=colors)}
            yield {"yours_why": write(route_input, found, colors=theme.colors(case.suite.task_of))}
        else:
            yield found
    for line in _others(bench, case, run, going):
        answer = dataclasses.replace(answer, others=(line, *answer.others))
        yield {"replies": write(yours_answer, answer, colors=colors)}
    if going():
        yield {"replying": status("")}
        yield from _placed(bench, session, shown, going)


def case_of(bench: Workbench, session: Session, shown: str) -> YoursCase | None:
    """Return the visitor's picture with the experts that are asked about it; None without one, or without experts."""
    number, run = session.inputs.yours, run_of(bench, shown)
    picture = None if number is None else bench.insight.yours.get(number)
    experts = run.recipe.experts if run else session.experts
    if number is None or picture is None or not experts:
        return None
    suite = load_suite(session.suite)
    inputs = bench.insight.prepared(suite, ("", SPLIT, number))
    return YoursCase(suite, experts, number, picture, inputs, run.recipe.method if run else "")


def line_of(suite: Suite, recipe: Recipe, reply: Reply) -> MergeLine:
    """Return a merge's reply in words."""
    heads = tuple(
        HeadLine(said.task, suite.task(said.task).classes[said.guess], said.probability, said.uncertainty)
        for said in reply.heads
    )
    sent = "" if reply.picked is None else recipe.experts[reply.picked]
    return MergeLine(named(recipe), heads, sent, suite.task_of[sent] if sent else "", reply.told)


def named(recipe: Recipe) -> str:
    """Return the name of a merge: its method, what differs from the published values, and its post-steps."""
    defaults = declared(method_class(recipe.method))
    changed = [f"{n.replace('_', ' ')} {v}" for n, v in recipe.parameters if v != defaults[n].default]
    edits = f" ({', '.join(changed[:2])}{', …' if len(changed) > 2 else ''})" if changed else ""
    return " + ".join((method_class(recipe.method).title + edits, *(method_class(key).title for key, _ in recipe.post)))


def far_of(view: InputView) -> tuple[int, int] | None:
    """Return how many routers, of how many, find the picture strange; None while none was compared."""
    found = [card.farther for card in view.routers if card.farther is not None]
    return (sum(share >= STRANGE for share in found), len(found)) if found else None


def _missing(session: Session) -> str:
    if session.inputs.yours is None:
        return ""
    return GONE if session.experts else NOBODY


def _map(bench: Workbench, session: Session, shown: str) -> Parts:
    """Return the map with the picture on it, if all its points are known."""
    drawn = map_at_hand(bench, session, shown)
    return {} if drawn is None else {"map": drawn}


def _placed(bench: Workbench, session: Session, shown: str, going: Going) -> Generator[Parts, None, None]:
    """Yield the map once the picture has its place on the second one too, and once that is made at all."""
    found, number = known_points(bench, session, shown), session.inputs.yours
    mine = None if number is None else bench.insight.feature(load_suite(session.suite), "", ("", SPLIT, number))
    if found is None or mine is None:
        return
    given, features, own = found[0], unit(found[1]), unit(mine.numpy()[None])[0]
    for key, other in ((given.key, None), (yours_key(given, number), own)):
        if bench.near.get(key) is None:
            bench.near.ask(key, features, other)
            if not waited(bench, key, going):
                return
    yield _map(bench, session, shown)


def _explained(
    bench: Workbench, session: Session, shown: str, case: YoursCase, merged: Merged | None, going: Going
) -> Generator[Parts | InputView, None, None]:
    """Yield the routers' and experts' views, and the map as soon as the picture has a place on it."""
    known: dict[str, np.ndarray] = {}
    for found in why_steps(bench.insight, case, merged):
        if not going():
            return
        if isinstance(found, Step):
            yield {"replying": status(found.label.capitalize(), done=found.done, total=found.total, tone="busy")}
            continue
        yield compared(found, known)
        if not known and any(card.near and not card.router.startswith(OWN) for card in found.routers):
            words = status("Comparing with the support set", tone="busy")
            yield {"replying": words, **_map(bench, session, shown)}
            known = _usual(bench, case, merged, shown)
            yield compared(found, known)


def _usual(bench: Workbench, case: YoursCase, merged: Merged | None, shown: str) -> dict[str, np.ndarray]:
    """Return how far support inputs usually are under every router, by title, the merge's own among them."""
    fitted = {WORDS[key][0]: router for key, router in bench.insight.fitted(case.suite, case.experts).items()}
    found = dict(bench.usual.of((case.suite.name, case.experts), fitted))
    if isinstance(merged, RoutedMerged) and (own := case.routed(merged)) is not None:
        found |= bench.usual.of(shown, {own.router: merged.router})
    return found


def _asked(bench: Workbench, case: YoursCase, recipe: Recipe, merged: Merged) -> Reply:
    return bench.replies.ask(case.suite, recipe.digest, merged, case.number, case.inputs)


def _others(bench: Workbench, case: YoursCase, run: Run | None, going: Going) -> Generator[MergeLine, None, None]:
    """Yield what other merges in memory reply, the oldest first, so that asking them does not change their order."""
    own = direction_key(run.recipe) if run else ""
    others = [recipe for recipe in bench.kept(case.suite.name) if direction_key(recipe) != own]
    for recipe in reversed(others[:OTHERS]):
        found, merged = bench.replies.known(recipe.digest, case.number), bench.merged(recipe)
        if found is None and merged is not None and going():
            found = _asked(bench, case, recipe, merged)
        if found is not None:
            yield line_of(case.suite, recipe, found)
