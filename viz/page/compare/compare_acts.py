"""What visitors do in the tab of comparisons: pin, exchange, sort and narrow, from session to session."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from merge_engine.errors import RecipeError, no_such
from merge_engine.suite import load_suite

from ..session import Session
from . import comparison as comparing
from .comparison import Comparison
from .visit import HEADS, TAILS

Said = Mapping[str, Any]


def _pin(session: Session, said: Said) -> Comparison:
    link = comparing.recipe_at(str(said.get("recipe", ""))).to_link()
    return comparing.pinned(session.comparison, said.get("name"), link)


def _swap(session: Session, said: Said) -> Comparison:
    return comparing.swapped(session.comparison)


def opened(session: Session, order: str, task: str) -> Session:
    """Return the session with the order of runs, and the task of differing inputs, of a link.

    Raises RecipeError for a column or a task that is none.
    """
    found = comparing.ordered(session.comparison, order)
    _column(session, found.sort)
    session = dataclasses.replace(session, comparison=found)
    return dataclasses.replace(session, comparison=_differ(session, {"value": task}))


def _sort(session: Session, said: Said) -> Comparison:
    return comparing.sorted_by(session.comparison, _column(session, said.get("value")))


def _column(session: Session, given: Any) -> str:
    columns = (*HEADS, *TAILS, *(f"task {task}" for task in load_suite(session.suite).tasks))
    if given not in columns:
        raise RecipeError(no_such("column", str(given), columns))
    return str(given)


def _differ(session: Session, said: Said) -> Comparison:
    task = said.get("value") or ""
    if task not in ("", *load_suite(session.suite).tasks):
        raise RecipeError(no_such("task", str(task), load_suite(session.suite).tasks))
    return dataclasses.replace(session.comparison, task=task)


def _on_session(act: Callable[[Session, Said], Comparison]) -> Callable[[Session, Said], Session]:
    return lambda session, said: dataclasses.replace(session, comparison=act(session, said))


ACTS = {name: _on_session(act) for name, act in
        {"pin": _pin, "swap": _swap, "sort": _sort, "differ": _differ}.items()}  # fmt: skip
