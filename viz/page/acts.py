"""What visitors do, as pure functions: an act that arrived from the browser makes a new session or a MergeError."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from merge_engine.errors import MergeError, RecipeError, SuiteError, no_such
from merge_engine.methods import registry as methods
from merge_engine.places import depth
from merge_engine.runs.first_look import first_place
from merge_engine.runs.recipe import Recipe
from merge_engine.suite import Suite, load_suite, suite_folders

from . import presets, views
from . import session as state
from .compare import compare_acts, comparison
from .drill import knock
from .inputs import choice
from .landscape import ground
from .session import Session
from .sweep import sweep_acts
from .weights.measure import offered

Said = Mapping[str, Any]
FORGOTTEN = "After a long pause the server had let go of this page. It is as its address says; do the last thing again."
REDRAW = ("suite", "load", "open", "method", "post", "reset", "preset")  # acts after which every box is filled anew


def perform(session: Session, said: Said) -> Session:
    """Return the session after an act; raises MergeError for anything that does not exist or is out of range."""
    act = said.get("act")
    if not isinstance(act, str) or act not in ACTS:
        raise RecipeError("The page sent something it cannot do; reload it.")
    standing = tuple(fault for fault in session.faults if fault[0])
    after = ACTS[act](dataclasses.replace(session, faults=standing), said)
    rows = after.experts != session.experts and state.has_rows(after)
    after = state.redrawn(after) if rows or act in REDRAW else after
    back = session.turn == state.LOST and after.turn != state.LOST
    return state.refused(after, FORGOTTEN) if back else after


def refused(session: Session, said: Said, sentence: str) -> Session:
    """Return the session after an act that was refused: a number that stands in its box, or a passing remark."""
    if said.get("act") == "open":
        session = dataclasses.replace(session, turn=str(said.get("turn", "")))
    owner = str(said.get("owner")) if said.get("act") == "set" else ""
    return state.refused(session, sentence, *((owner, said.get("name")) if owner in methods() else ()))


def everywhere(act: str) -> bool:
    """Return whether an act changes the whole page."""
    return act in ("suite", "load", "open")


def first_session(suites: tuple[str, ...], given: Mapping[str, str]) -> tuple[Session, str]:
    """Return the session that a link describes and, where the link cannot be followed, a sentence that says why."""
    wanted = given.get("suite", "")
    name = wanted if wanted in suites else "pictures" if "pictures" in suites else next(iter(suites), "")
    if not name:
        raise SuiteError("There is no suite; put a folder with a suite.toml into assets/suites.")
    suite = load_suite(name)
    fresh = state.choose_suite(Session(), name, suite.experts)
    best = presets.first_recipe(suite)
    fresh = dataclasses.replace(state.load(fresh, best, suite.experts) if best else fresh, block=first_place(suite)[0])
    try:
        if given.get("metric") in offered():
            fresh = dataclasses.replace(fresh, metric=given["metric"])
        fresh = dataclasses.replace(fresh, ground=ground.from_word(given.get("ground", ""), suite))
        found = state.opened(fresh, given, suite.experts, depth(suite))
        found = knock.opened(found, given.get("without", ""), given.get("pair", ""))
        found = compare_acts.opened(found, given.get("sort", ""), given.get("differ", ""))
        return _inputs(found, given), ""
    except (RecipeError, SuiteError) as error:
        return fresh, str(error)


def lost_session() -> Session:
    """Return what stands in where the server no longer has a visitor's session: the first page, marked as such."""
    try:
        return dataclasses.replace(first_session(tuple(suite_folders()), {})[0], turn=state.LOST)
    except MergeError:
        return Session(turn=state.LOST)


def _suite(session: Session) -> Suite:
    return load_suite(session.suite)


def _choose_suite(session: Session, said: Said) -> Session:
    name = str(said.get("value"))
    if name not in suite_folders():
        raise SuiteError(no_such("suite", name, suite_folders()))
    return state.choose_suite(session, name, load_suite(name).experts)


def _choose_experts(session: Session, said: Said) -> Session:
    return state.choose_experts(session, said.get("values"), _suite(session).experts)


def _choose_method(session: Session, said: Said) -> Session:
    return state.choose_method(session, said.get("value"))


def _choose_post(session: Session, said: Said) -> Session:
    return state.choose_post(session, said.get("value"))


def _set(session: Session, said: Said) -> Session:
    values, value = said.get("values"), said.get("value")
    return state.set_parameter(session, said.get("owner"), said.get("name"), values if values else value)


def _reset(session: Session, said: Said) -> Session:
    return state.reset_parameters(session, said.get("owner"))


def _preset(session: Session, said: Said) -> Session:
    owner = str(said.get("owner"))
    return state.take(session, owner, presets.preset(_suite(session), owner, str(said.get("name"))))


def _look(session: Session, said: Said) -> Session:
    block, kind = said.get("block"), said.get("kind")
    if said.get("act") == "block":
        block = int(str(said.get("value"))) if str(said.get("value")).isdecimal() else None
    if said.get("act") == "kind":
        kind = said.get("value")
    return state.look_at(session, block=block, kind=kind, depth=depth(_suite(session)))


def _measure(session: Session, said: Said) -> Session:
    if said.get("value") not in offered():
        raise RecipeError(no_such("metric", str(said.get("value")), sorted(offered())))
    return dataclasses.replace(session, metric=str(said["value"]))


def _load(session: Session, said: Said) -> Session:
    recipe = Recipe.from_link(str(said.get("recipe", "")))
    return state.load(session, recipe, load_suite(recipe.suite or session.suite).experts)


def _open(session: Session, said: Said) -> Session:
    """Go to an address of this page; what no address tells stays, such as edits of other methods and runs seen."""
    found, sorry = first_session(tuple(suite_folders()), dict(parse_qsl(str(said.get("value")))))
    if sorry:
        raise RecipeError(sorry)
    found = dataclasses.replace(found, drawn=session.drawn, turn=str(said.get("turn", "")))
    if session.turn == state.LOST:
        return found
    edits = {**dict(session.edits), found.method: (), found.post: (), **dict(found.edits)}
    found = dataclasses.replace(found, edits=tuple((owner, pairs) for owner, pairs in edits.items() if pairs))
    seen = comparison.remembered(session.comparison, *found.comparison.seen).seen
    found = dataclasses.replace(found, comparison=dataclasses.replace(found.comparison, seen=seen))
    if found.suite != session.suite:
        return found
    return dataclasses.replace(found, inputs=dataclasses.replace(found.inputs, yours=session.inputs.yours))


def _narrow(session: Session, said: Said) -> Session:
    act, suite = said.get("act"), _suite(session)
    given = {
        "of": {"task": said.get("value")},
        "sent": {"sent": said.get("value")},
        "routed": {"task": said.get("task"), "sent": said.get("expert")},
        "widen": {"task": "", "sent": ""},
    }[str(act)]
    known = {"task": ("", *suite.tasks), "sent": ("", *suite.task_of)}
    if any(value not in known[name] for name, value in given.items()):
        raise RecipeError("There are no such inputs; choose a task and an expert of the suite.")
    return dataclasses.replace(session, inputs=choice.narrowed(session.inputs, **given))


def _inputs(session: Session, given: Mapping[str, str]) -> Session:
    """Return the session with the inputs that a link names; raises RecipeError for those that there are not."""
    if given.get("of") or given.get("sent"):
        session = _narrow(session, {"act": "routed", "task": given.get("of", ""), "expert": given.get("sent", "")})
    if keys := choice.from_word(given.get("around", "")):
        if not all(_exists(session, key) for key in keys):
            raise RecipeError("There are no such inputs; draw around points of the map.")
        session = _circle(session, {"values": keys})
    if (deep := given.get("deep", "")) not in ("", *_suite(session).tasks):
        raise RecipeError(no_such("task", deep, _suite(session).tasks))
    session = _deep(session, {"value": deep})
    return _input(session, {"value": given["input"]}) if given.get("input") else session


def _circle(session: Session, said: Said) -> Session:
    values = said.get("values")
    keys = [key for key in values if _exists(session, key)] if isinstance(values, list) else []
    return dataclasses.replace(session, inputs=choice.circled(session.inputs, keys))


def _input(session: Session, said: Said) -> Session:
    key = said.get("value")
    if not _exists(session, key):
        raise RecipeError("There is no such input; choose one of the gallery.")
    return dataclasses.replace(session, inputs=dataclasses.replace(session.inputs, chosen=str(key)))


def _deep(session: Session, said: Said) -> Session:
    task = said.get("value")
    deep = str(task) if task in _suite(session).tasks else ""
    return dataclasses.replace(session, inputs=dataclasses.replace(session.inputs, deep=deep))


def _view(session: Session, said: Said) -> Session:
    return dataclasses.replace(session, views=views.chosen(session.views, said.get("panel"), said.get("view")))


def _ground(session: Session, said: Said) -> Session:
    after = ground.chosen(session.ground, said, _suite(session), session.experts)
    return dataclasses.replace(session, ground=after)


def _exists(session: Session, key: Any) -> bool:
    """Return whether a word names a test input of the suite."""
    found, suite = choice.parsed(key) if isinstance(key, str) else None, _suite(session)
    return bool(found) and found[0] in suite.tasks and found[1] < len(suite.indices(found[0], "score"))


ACTS: dict[str, Callable[[Session, Said], Session]] = {
    "suite": _choose_suite,
    "experts": _choose_experts,
    "method": _choose_method,
    "post": _choose_post,
    "set": _set,
    "reset": _reset,
    "preset": _preset,
    "block": _look,
    "kind": _look,
    "cell": _look,
    "metric": _measure,
    "load": _load,
    "open": _open,
    "of": _narrow,
    "sent": _narrow,
    "routed": _narrow,
    "widen": _narrow,
    "circle": _circle,
    "input": _input,
    "deep": _deep,
    "view": _view,
    **knock.ACTS,
    **compare_acts.ACTS,
    **sweep_acts.ACTS,
    **dict.fromkeys(ground.ACTS, _ground),
}
