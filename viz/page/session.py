"""What one visitor is looking at, as names and numbers; every event is a pure function from session to session."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from merge_engine.errors import MergeError, RecipeError, no_such
from merge_engine.hp import HP, check_names, declared
from merge_engine.methods import method_class
from merge_engine.problem import MATRIX_KINDS
from merge_engine.runs.first_look import KIND
from merge_engine.runs.recipe import Recipe
from merge_engine.tensorwise import PostStep

from .compare import comparison as comparing
from .compare.comparison import Comparison
from .drill.knock import chosen, standing
from .inputs import choice
from .inputs.choice import Choice
from .landscape.ground import Ground, to_word
from .sweep.wish import Wish, from_query, to_query
from .views import Views
from .views import from_word as views_of
from .views import to_word as word_of_views

FIRST_METHOD = "task_arithmetic"
QUICK = "cpu"
LOST = "lost"
NOBODY = "none"  # in a link: no expert is chosen
PLACE = re.compile(r"(\d{1,3})\.([a-z0-9]{1,8})")


@dataclass(frozen=True)
class Session:
    """The recipe being composed and the cell being looked at.

    `edits` holds, for every method and post-step, the parameters that differ from the published default, so that
    going back to a method finds its values again. `post` is the key of a post-step or empty. `faults` holds what was
    typed and refused and still stands in a box, as (owner, name, sentence); `drawn` counts how often the boxes were
    filled from here. `inputs` are the single inputs looked at. `knocked` are the words of what is left out of the merge
    for a moment, `pair` those of the one or two components chosen in the matrix. `comparison` are the runs seen and
    pinned; `sweep` is what is to be swept, `ground` the models of the landscapes; `views` is what panels show
    that is not usual. `turn` names the latest address that
    the browser asked to open, `LOST` for a session that the server made up because it no longer had the visitor's.
    """

    suite: str = ""
    experts: tuple[str, ...] = ()
    method: str = FIRST_METHOD
    edits: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...] = ()
    post: str = ""
    seed: int = 0
    block: int = 0
    kind: str = KIND
    metric: str = ""
    faults: tuple[tuple[str, str, str], ...] = ()
    drawn: int = 0
    inputs: Choice = field(default_factory=Choice)
    knocked: tuple[str, ...] = ()
    pair: tuple[str, ...] = ()
    comparison: Comparison = field(default_factory=Comparison)
    sweep: Wish = field(default_factory=Wish)
    ground: Ground = field(default_factory=Ground)
    views: Views = ()
    turn: str = ""


def parameters(session: Session, owner: str) -> dict[str, Any]:
    """Return all hyper-parameters of a method or post-step: the edited ones over the published defaults."""
    defaults = {name: hp.default for name, hp in declared(method_class(owner)).items()}
    return defaults | dict(dict(session.edits).get(owner, ()))


def recipe(session: Session) -> Recipe:
    """Return the recipe of a session; raises RecipeError when it cannot be merged as it stands."""
    for owner, _, sentence in session.faults:
        if owner:
            raise RecipeError(sentence)
    return _legal(session)


def digest(session: Session) -> str:
    """Return the digest of a session's recipe, or nothing while it has none."""
    try:
        return recipe(session).digest
    except MergeError:
        return ""


def fault(session: Session) -> str:
    """Return what the visitor has to correct, in a sentence; empty when there is nothing."""
    if session.faults:
        return session.faults[-1][2]
    try:
        recipe(session)
    except MergeError as error:
        return str(error)
    return ""


def refused(session: Session, sentence: str, owner: Any = "", name: Any = "") -> Session:
    """Remember why something was refused: for a parameter until it is legal, else until something else succeeds."""
    kept = tuple(f for f in session.faults if f[:2] != (str(owner), str(name)))
    return dataclasses.replace(session, faults=(*kept, (str(owner), str(name), sentence)))


def redrawn(session: Session) -> Session:
    """Fill every box from the session, so that nothing refused is left in one."""
    return dataclasses.replace(session, faults=(), drawn=session.drawn + 1)


def has_rows(session: Session) -> bool:
    """Return whether the forms have a box per expert, and so change with the selection."""
    owners = [owner for owner in (session.method, session.post) if owner]
    return any(hp.per_expert for owner in owners for hp in declared(method_class(owner)).values())


def _legal(session: Session) -> Recipe:
    if not session.experts:
        raise RecipeError("No expert is chosen; choose at least one.")
    made = _composed(session, session.experts)
    made.build()[0].check(session.experts)
    return made


def _composed(session: Session, experts: tuple[str, ...]) -> Recipe:
    """Return what is composed, whether or not it can be merged."""
    post = ((session.post, parameters(session, session.post)),) if session.post else ()
    return Recipe(session.suite, experts, session.method, parameters(session, session.method), post, session.seed)


def choose_suite(session: Session, suite: str, experts: Iterable[str]) -> Session:
    """Start afresh in another suite, with all its experts; method and values stay."""
    fresh = dataclasses.replace(
        session, suite=suite, experts=tuple(experts), block=0, inputs=Choice(), knocked=(), pair=(), ground=Ground()
    )
    return _without_per_expert(fresh)


def choose_experts(session: Session, names: Any, known: Iterable[str]) -> Session:
    """Choose experts by name, in the order of the suite; unknown names are left out."""
    wanted = {n for n in names if isinstance(n, str)} if isinstance(names, list | tuple) else set()
    chosen = tuple(n for n in known if n in wanted)
    return (
        session
        if chosen == session.experts
        else _without_per_expert(
            dataclasses.replace(session, experts=chosen, knocked=standing(session.knocked, chosen))
        )
    )


def choose_method(session: Session, key: Any) -> Session:
    """Choose a merge method; raises RecipeError for an unknown key or a post-step.

    One whose published course is too long to wait for starts at its preset for a laptop.
    """
    if issubclass(method_class(str(key)), PostStep):
        raise RecipeError(f"'{key}' is a post-step; choose a merge method and add this one after it.")
    chosen = dataclasses.replace(session, method=str(key))
    quick = method_class(str(key)).presets.get(QUICK)
    return chosen if quick is None or str(key) in dict(session.edits) else take(chosen, key, quick)


def choose_post(session: Session, key: Any) -> Session:
    """Choose a post-step, or none with an empty key."""
    if key and not issubclass(method_class(str(key)), PostStep):
        raise RecipeError(f"'{key}' is a merge method, not a post-step.")
    return dataclasses.replace(session, post=str(key or ""))


def set_parameter(session: Session, owner: Any, name: Any, value: Any) -> Session:
    """Set one hyper-parameter; raises RecipeError with the legal range when the value is out of it."""
    cls = method_class(str(owner))
    check_names([str(name)], cls)
    hp = declared(cls)[str(name)]
    try:
        checked = hp.check(_given(hp, value), cls.__name__)
    except RecipeError as error:
        said = str(error).replace(f"{cls.__name__}.{hp.name}", f"{cls.title}: {hp.name.replace('_', ' ')}")
        raise RecipeError(said) from None
    session = dataclasses.replace(session, faults=tuple(f for f in session.faults if f[:2] != (str(owner), hp.name)))
    kept = {n: v for n, v in parameters(session, str(owner)).items() if n != hp.name} | {hp.name: checked}
    changed = {n: v for n, v in kept.items() if v != declared(cls)[n].default}
    return _with_edits(session, str(owner), changed)


def reset_parameters(session: Session, owner: Any) -> Session:
    """Go back to the published defaults of a method or post-step."""
    return _with_edits(session, str(owner), {})


def take(session: Session, owner: Any, values: Mapping[str, Any]) -> Session:
    """Take hyper-parameters of a method or post-step; those not named go back to the published defaults."""
    return _with_edits(session, str(owner), _changed(str(owner), method_class(str(owner))(**values).parameters()))


def look_at(session: Session, *, block: Any = None, kind: Any = None, depth: int) -> Session:
    """Choose the block and the matrix to look at; whatever does not exist is left as it was."""
    if isinstance(block, int) and not isinstance(block, bool) and 0 <= block < depth:
        session = dataclasses.replace(session, block=block)
    if kind in MATRIX_KINDS:
        session = dataclasses.replace(session, kind=kind)
    return session


def load(session: Session, given: Recipe, known: Iterable[str]) -> Session:
    """Compose the given recipe; raises RecipeError when the suite lacks one of its experts."""
    known = tuple(known)
    for name in given.experts:
        if name not in known:
            raise RecipeError(no_such(f"expert in suite {given.suite}", name, known))
    session = dataclasses.replace(
        session, suite=given.suite, experts=given.experts, method=given.method, seed=given.seed,
        post=given.post[0][0] if given.post else "",
        inputs=session.inputs if given.suite == session.suite else Choice(),
        knocked=standing(session.knocked, given.experts) if given.suite == session.suite else (),
        ground=session.ground if given.suite == session.suite else Ground(),
    )  # fmt: skip
    for owner, values in ((given.method, given.parameters), *given.post[:1]):
        session = _with_edits(session, owner, _changed(owner, dict(values)))
    return session


def query(session: Session) -> str:
    """Return the session as a URL query, without the leading question mark."""
    return urlencode({k: v for k, v in _words(session).items() if v})


def _words(session: Session) -> dict[str, str]:
    """Return everything that a query can hold by name, empty where there is nothing to say."""
    pairs = {"suite": session.suite, "at": f"{session.block}.{session.kind}", "metric": session.metric}
    pairs |= {"input": session.inputs.chosen, "without": ",".join(session.knocked), "sweep": to_query(session.sweep)}
    pair = [one.word for one in chosen(session)]
    pairs |= {"ground": to_word(session.ground), "pair": ",".join(pair)}
    pairs |= {"of": session.inputs.task, "sent": session.inputs.sent, "around": choice.to_word(session.inputs.circled)}
    pairs |= {"deep": session.inputs.deep, "sort": comparing.order(session.comparison)}
    pairs |= {"differ": session.comparison.task, "panels": word_of_views(session.views), "recipe": ""}
    with contextlib.suppress(MergeError):
        pairs["recipe"] = _composed(session, session.experts or (NOBODY,)).to_link()
    return pairs | dict(comparing.pins_of(comparing.of_suite(session.comparison, session.suite)))


KEYS = tuple(_words(Session()))  # the names of a query that are the session's; others are left to who put them there


def opened(session: Session, given: Mapping[str, str], known: Iterable[str], depth: int) -> Session:
    """Return the session that a URL query describes; raises RecipeError when its recipe cannot be read."""
    if link := given.get("recipe"):
        wanted = Recipe.from_link(link)
        if wanted.suite != session.suite:
            raise RecipeError(f"This link's recipe is for the suite '{wanted.suite}', which is not here.")
        known, nobody = tuple(known), wanted.experts == (NOBODY,)
        session = load(session, dataclasses.replace(wanted, experts=known) if nobody else wanted, known)
        session = dataclasses.replace(session, experts=()) if nobody else session
    if place := PLACE.fullmatch(given.get("at", "")):
        session = look_at(session, block=int(place[1]), kind=place[2], depth=depth)
    pinned = comparing.opened(session.comparison, given)
    swept, views = from_query(given.get("sweep", "")), views_of(given.get("panels", ""))
    return dataclasses.replace(session, comparison=pinned, sweep=swept, views=views)


def _changed(owner: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {n: v for n, v in values.items() if v != declared(method_class(owner))[n].default}


def _with_edits(session: Session, owner: str, changed: Mapping[str, Any]) -> Session:
    edits = {key: pairs for key, pairs in session.edits if key != owner}
    if changed:
        edits[owner] = tuple(changed.items())
    return dataclasses.replace(session, edits=tuple(edits.items()))


def _without_per_expert(session: Session) -> Session:
    """Numbers given one per expert lose their meaning with the selection."""
    for owner, pairs in session.edits:
        hps = declared(method_class(owner))
        session = _with_edits(session, owner, {n: v for n, v in pairs if not hps[n].per_expert})
    return session


def _given(hp: HP, value: Any) -> Any:
    """A row of number boxes left blank means that all experts are equal."""
    if hp.per_expert and isinstance(value, list | tuple):
        return () if all(v in ("", None) for v in value) else value
    return value
