"""Which models the landscapes go through, and how finely they are measured, as names and numbers.

A model is the word of one of the suite, `average` for the weight average of the session's experts, or `=` and the link
of the recipe of a merge.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from merge_engine.errors import MergeError, RecipeError
from merge_engine.landscape import first
from merge_engine.landscape.corners import PRETRAINED, known_models
from merge_engine.landscape.lattice import SIDES
from merge_engine.runs.recipe import LINK_LIMIT, Recipe
from merge_engine.suite import Suite

from ..compare.comparison import recipe_at

PICTURES = (8, 16, 32, 64)
AVERAGE, MERGE = "average", "="
SLOTS = {"plane": 3, "line": 2, "pair": 2}
PREFIX = "ground."
PLACES = (*(f"{view}.{i}" for view, count in SLOTS.items() for i in range(count)), "pictures", "detail")
ACTS = tuple(f"{PREFIX}{place}" for place in PLACES)
MODELS = f"([^~]{{0,{3 * LINK_LIMIT}}})"
WORD = re.compile(rf"{MODELS}~{MODELS}~(\d{{1,3}})~(\d{{1,3}})(?:~{MODELS})?")


@dataclass(frozen=True)
class Ground:
    """Three models of the plane, two of the line, two experts of the map; empty for those that the session suggests.

    `pictures` are of every task, `detail` is the number of points along a side.
    """

    plane: tuple[str, ...] = ()
    line: tuple[str, ...] = ()
    pair: tuple[str, ...] = ()
    pictures: int = first.PICTURES
    detail: int = first.DETAIL


def settled(ground: Ground, suite: Suite, experts: Sequence[str]) -> Ground | None:
    """Return the choice with every model named: the pretrained one and the session's first two experts by default.

    None where the suite has fewer than two experts.
    """
    pair = [*(e for e in experts if e in suite.experts), *(e for e in suite.experts if e not in experts)][:2]
    if len(pair) < 2:
        return None
    usual = {"plane": (PRETRAINED, *pair), "line": tuple(pair), "pair": tuple(pair)}
    kept = {view: words for view in SLOTS if _fits(words := getattr(ground, view), view, suite, experts)}
    return dataclasses.replace(ground, **{**usual, **kept})


def chosen(ground: Ground, said: Mapping[str, Any], suite: Suite, experts: Sequence[str]) -> Ground:
    """Return the choice after a menu was turned; a model chosen twice changes places with the one before.

    Raises RecipeError for anything that does not exist.
    """
    full, value = settled(ground, suite, experts), str(said.get("value"))
    slot = str(said.get("act")).removeprefix(PREFIX)
    if full is None:
        raise RecipeError(f"Suite {suite.name} has fewer than two experts, so there is nothing to go through.")
    if slot in ("pictures", "detail"):
        allowed = PICTURES if slot == "pictures" else SIDES
        if value not in map(str, allowed):
            raise RecipeError(f"The menu of {slot} has {', '.join(map(str, allowed))}; got '{value[:40]}'.")
        return dataclasses.replace(ground, **{slot: int(value)})
    view, _, place = slot.partition(".")
    if not _exists(value, view, suite):
        raise RecipeError("There is no such model to go through; choose one of the menu.")
    models: list[str] = list(getattr(full, view))
    before, models[int(place)] = models[int(place)], value
    swapped = tuple(before if name == value and i != int(place) else name for i, name in enumerate(models))
    if not _fits(swapped, view, suite, experts):
        raise RecipeError("These are the same model twice; choose another one.")
    return dataclasses.replace(ground, **{view: swapped})


def recipe_of(word: str, suite: Suite, experts: Sequence[str]) -> Recipe | None:
    """Return the recipe of a merge, None for a model of the suite; raises RecipeError for what cannot be read."""
    if word in known_models(suite):
        return None
    if word == AVERAGE:
        return Recipe(suite.name, tuple(experts) or suite.experts, AVERAGE)
    if not word.startswith(MERGE):
        raise RecipeError("There is no such model to go through; choose one of the menu.")
    found = recipe_at(word.removeprefix(MERGE))
    if found.suite != suite.name or not set(found.experts) <= set(suite.experts):
        raise RecipeError("A merge of this link is of models that are not here.")
    return found


def to_word(ground: Ground) -> str:
    """Return the choice for a link; nothing for the one a session begins with."""
    if ground == Ground():
        return ""
    plane, line, pair = (",".join(getattr(ground, view)) for view in SLOTS)
    return f"{plane}~{pair}~{ground.pictures}~{ground.detail}~{line}"


def from_word(word: str, suite: Suite) -> Ground:
    """Return the choice of a link; what does not exist is left as it would be without."""
    found = WORD.fullmatch(word)
    if found is None:
        return Ground()
    given = {"plane": found[1], "pair": found[2], "line": found[2] if found[5] is None else found[5]}
    models = {view: tuple(names.split(",")) for view, names in given.items() if names}
    kept = {view: names for view, names in models.items() if _fits(names, view, suite, ())}
    numbers = {"pictures": (int(found[3]), PICTURES), "detail": (int(found[4]), SIDES)}
    return Ground(**kept, **{name: value for name, (value, allowed) in numbers.items() if value in allowed})  # type: ignore[arg-type]


def _exists(word: str, view: str, suite: Suite) -> bool:
    """Return whether a view can go through a model: a map takes task vectors of experts alone."""
    if view == "pair":
        return word in suite.experts
    try:
        recipe_of(word, suite, ())
    except MergeError:
        return False
    return True


def _fits(words: Sequence[str], view: str, suite: Suite, experts: Sequence[str]) -> bool:
    """Return whether a view can go through these models: as many as it takes, all there, no two the same."""
    if len(words) != SLOTS[view] or not all(_exists(word, view, suite) for word in words):
        return False
    same = [recipe.digest if (recipe := recipe_of(word, suite, experts)) else word for word in words]
    return len(set(same)) == len(same)
