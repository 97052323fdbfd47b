"""What visitors do on the tab of sweeps, as pure functions from session to session."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from merge_engine.errors import RecipeError
from merge_engine.runs.grid import axis_of, sweepable
from merge_engine.runs.sweep import Sweep

from .. import session as state
from ..session import Session
from . import wish as wishes
from .wish import Wish

Said = Mapping[str, Any]


def wish_of(session: Session) -> Wish:
    """Return what is to be swept, with numbers that the recipe has; raises RecipeError while there is no recipe."""
    return wishes.effective(session.sweep, list(sweepable(state.recipe(session))))


def sweep_of(session: Session) -> Sweep:
    """Return the sweep of a session; raises RecipeError when it makes no sense as it stands."""
    wish, recipe = wish_of(session), state.recipe(session)
    return Sweep.of(recipe, wishes.over(wish) or [""], wish.split, wish.pictures)


def _choose(session: Session, said: Said) -> Session:
    """Choose the first or the second number; choosing the other one's exchanges them."""
    now, word = wish_of(session), str(said.get("value") or "")
    if word and word not in sweepable(state.recipe(session)):
        raise RecipeError("The recipe has no such number; choose another one.")
    if said.get("act") == "over":
        second = now.first if word == now.second else now.second
        return _wishing(session, now, first=word or now.first, second=second)
    first = now.second if word and word == now.first and now.second else now.first
    return _wishing(session, now, first=first, second=word if word != first else "")


def _values(session: Session, said: Said) -> Session:
    word, text = str(said.get("name")), str(said.get("value") or "")
    changed = wishes.with_values(wish_of(session), word, text)
    if text.strip():
        axis_of(state.recipe(session), f"{word}={dict(changed.typed)[word]}")
    return dataclasses.replace(session, sweep=changed)


def _pictures(session: Session, said: Said) -> Session:
    given = str(said.get("value"))
    if given not in map(str, wishes.PICTURES):
        raise RecipeError(f"A sweep takes {', '.join(map(str, wishes.PICTURES))} pictures per task.")
    return _wishing(session, session.sweep, pictures=int(given))


def _split(session: Session, said: Said) -> Session:
    if said.get("value") not in wishes.SPLITS:
        raise RecipeError("A sweep is on validation or on test pictures.")
    return _wishing(session, session.sweep, split=str(said["value"]))


def _take(session: Session, said: Said) -> Session:
    """Take the values of a point into the recipe; those of test pictures are for looking only."""
    sweep, values = sweep_of(session), said.get("values")
    if not sweep.chooses:
        raise RecipeError("Test pictures are to look at only; sweep on validation pictures to choose a value.")
    if not isinstance(values, list | tuple) or len(values) != len(sweep.axes):
        raise RecipeError("There is no such point in the sweep.")
    for axis, value in zip(sweep.axes, values, strict=True):
        session = state.set_parameter(session, axis.owner, axis.hp.name, value)
    return state.redrawn(session)


def _wishing(session: Session, wish: Wish, **changes: Any) -> Session:
    return dataclasses.replace(session, sweep=dataclasses.replace(wish, **changes))


ACTS: dict[str, Callable[[Session, Said], Session]] = {
    "over": _choose,
    "against": _choose,
    "values": _values,
    "pictures": _pictures,
    "split": _split,
    "take": _take,
}
