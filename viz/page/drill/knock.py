"""What a visitor knocks out of the merge, and the components chosen for it: words in the session, acts on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from merge_engine.errors import RecipeError
from merge_engine.knock_out import KnockOut, canonical, tensors_of
from merge_engine.suite import load_suite

if TYPE_CHECKING:
    from ..session import Session

LIMIT = 24  # knock-outs at once


def parsed(words: Iterable[str]) -> tuple[KnockOut, ...]:
    """Return what words name."""
    return tuple(map(KnockOut.parse, words))


def said(words: Iterable[str]) -> str:
    """Return what words name, for readers: `letters 5.fc1 #0 and digits`."""
    names = [one.said for one in parsed(words)]
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def standing(words: Iterable[str], experts: Iterable[str]) -> tuple[str, ...]:
    """Return the words that are about some of the experts."""
    known = set(experts)
    return tuple(word for word in words if KnockOut.parse(word).expert in known)


def opened(session: Session, out: str, pair: str = "") -> Session:
    """Return the session with what a link leaves out and the components it chose; RecipeError for what experts lack."""
    session = _with(session, parsed(out.split(",")[: LIMIT + 1])) if out else session
    found = [_there(session, one) for one in parsed(pair.split(",")[:3])] if pair else []
    if len(found) == 1 and found[0].index is not None:
        return dataclasses.replace(session, pair=(found[0].word,))
    return _paired(session, found) if found else session


def component(session: Session, given: str) -> KnockOut:
    """Return the component `expert:index` of the matrix that the session looks at."""
    expert, _, index = given.rpartition(":")
    if not (expert and index.isdecimal()):
        raise RecipeError("There is no such component; choose a cell of the map, or an expert and a number.")
    return _there(session, KnockOut.parse(f"{expert}:{session.block}.{session.kind}:{int(index)}"))


def chosen(session: Session) -> tuple[KnockOut, ...]:
    """Return the chosen components where they are of the matrix that the session looks at."""
    place = (session.block, session.kind)
    return tuple(one for one in parsed(standing(session.pair, session.experts)) if (one.block, one.kind) == place)


def rank(session: Session) -> int:
    """Return how many components the matrix that the session looks at has."""
    problem = load_suite(session.suite).problem(session.experts)
    (name,) = tensors_of(problem, KnockOut(session.experts[0], session.block, session.kind))
    return min(problem.pretrained[name].shape)


def _component(session: Session, said: Mapping[str, Any]) -> Session:
    """Choose one component by expert and number, or let go of it where it was chosen already.

    An expert alone is asked for the component with the number that is chosen, else for its strongest.
    """
    value, now = str(said.get("value")), chosen(session)
    if "expert" not in said:
        value, said = str(now[0].index if len(now) == 1 else 0), {"expert": value}
    one = component(session, f"{said['expert']}:{value}")
    return dataclasses.replace(session, pair=() if session.pair == (one.word,) else (one.word,))


def _pick(session: Session, said: Mapping[str, Any]) -> Session:
    """Choose two components, or let go of them where they were chosen already."""
    after = _paired(session, [component(session, word) for word in str(said.get("value")).split("|")])
    return dataclasses.replace(session, pair=()) if after.pair == session.pair else after


def _paired(session: Session, found: list[KnockOut]) -> Session:
    """Choose two components of one matrix."""
    places, whole = {(one.block, one.kind) for one in found}, any(one.index is None for one in found)
    if len({one.expert for one in found}) != 2 or len(found) != 2 or len(places) != 1 or whole:
        raise RecipeError("A collision is between components of two experts; choose a cell of the map.")
    pair = tuple(one.word for one in sorted(found, key=lambda one: session.experts.index(one.expert)))
    return dataclasses.replace(session, pair=pair)


def _knock(session: Session, said: Mapping[str, Any]) -> Session:
    return _with(session, (*parsed(session.knocked), KnockOut.parse(str(said.get("value")))))


def _restore(session: Session, said: Mapping[str, Any]) -> Session:
    """Put one thing back, all of them where none is named."""
    value = said.get("value")
    return dataclasses.replace(session, knocked=tuple(w for w in session.knocked if value and w != value))


def _with(session: Session, outs: Iterable[KnockOut]) -> Session:
    kept = canonical(_there(session, out) for out in outs)
    if len(kept) > LIMIT:
        raise RecipeError(f"At most {LIMIT} things can be knocked out at once; put some back first.")
    return dataclasses.replace(session, knocked=tuple(out.word for out in kept))


def _there(session: Session, out: KnockOut) -> KnockOut:
    """Return a knock-out that the chosen experts have; RecipeError for any other."""
    tensors_of(load_suite(session.suite).problem(session.experts), out)
    return out


ACTS: dict[str, Callable[[Session, Mapping[str, Any]], Session]] = {
    "pick": _pick,
    "component": _component,
    "knock": _knock,
    "restore": _restore,
}
