"""Which models the landscapes go through, and how finely they are measured, as names and numbers."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from merge_engine.errors import RecipeError
from merge_engine.landscape import first
from merge_engine.landscape.lattice import SIDES
from merge_engine.landscape.span import PRETRAINED, known_models
from merge_engine.suite import Suite

PICTURES = (8, 16, 32, 64)
SLOTS = {"plane": 3, "pair": 2}
PREFIX = "ground."
PLACES = (*(f"{view}.{i}" for view, count in SLOTS.items() for i in range(count)), "pictures", "detail")
ACTS = tuple(f"{PREFIX}{place}" for place in PLACES)
WORD = re.compile(r"([^~]{0,400})~([^~]{0,400})~(\d{1,3})~(\d{1,3})")


@dataclass(frozen=True)
class Ground:
    """Three models of the plane, two of the line and of the map; empty for those that the session suggests.

    `pictures` are of every task, `detail` is the number of points along a side.
    """

    plane: tuple[str, ...] = ()
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
    known = known_models(suite)
    plane = ground.plane if _fits(ground.plane, 3, known) else (PRETRAINED, *pair)
    line = ground.pair if _fits(ground.pair, 2, known[1:]) else tuple(pair)
    return dataclasses.replace(ground, plane=tuple(plane), pair=line)


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
    known = known_models(suite)[view == "pair" :]
    if value not in known:
        raise RecipeError("There is no such model to go through; choose one of the menu.")
    models: list[str] = list(getattr(full, view))
    before, models[int(place)] = models[int(place)], value
    swapped = tuple(before if name == value and i != int(place) else name for i, name in enumerate(models))
    return dataclasses.replace(ground, **{view: swapped})


def to_word(ground: Ground) -> str:
    """Return the choice for a link; nothing for the one a session begins with."""
    if ground == Ground():
        return ""
    return f"{','.join(ground.plane)}~{','.join(ground.pair)}~{ground.pictures}~{ground.detail}"


def from_word(word: str, suite: Suite) -> Ground:
    """Return the choice of a link; what does not exist is left as it would be without."""
    found = WORD.fullmatch(word)
    if found is None:
        return Ground()
    known, fresh = known_models(suite), Ground()
    plane, pair = (tuple(found[i].split(",")) if found[i] else () for i in (1, 2))
    pictures, detail = int(found[3]), int(found[4])
    return Ground(
        plane if _fits(plane, 3, known) else (), pair if _fits(pair, 2, known[1:]) else (),
        pictures if pictures in PICTURES else fresh.pictures, detail if detail in SIDES else fresh.detail,
    )  # fmt: skip


def _fits(names: Sequence[str], count: int, known: Sequence[str]) -> bool:
    return len(set(names)) == len(names) == count and all(name in known for name in names)
