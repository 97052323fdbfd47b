"""Which runs a visitor has seen and compares: recipes as links, the pinned ones A and B, and how they are listed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from merge_engine.errors import RecipeError
from merge_engine.runs.recipe import Recipe

PINS = ("a", "b")
MOST = 100  # runs of a visit that are listed
FIRST_SORT = "run"
FALLING = ("run", "average", "normalised")  # columns whose largest values come first, as those of tasks do


@dataclass(frozen=True)
class Comparison:
    """The `seen` runs, newest first, the pinned ones `a` and `b`, all as links of recipes, empty for none.

    `sort` is the column that the list is ordered by, `rising` its direction; `task` narrows the differing inputs.
    """

    seen: tuple[str, ...] = ()
    a: str = ""
    b: str = ""
    sort: str = FIRST_SORT
    rising: bool = False
    task: str = ""

    @property
    def pins(self) -> tuple[str, str]:
        return self.a, self.b


def remembered(comparison: Comparison, *links: str) -> Comparison:
    """Return the comparison that knows some more runs; one that was seen before keeps its place."""
    new = [link for link in dict.fromkeys(links) if link and link not in comparison.seen]
    return dataclasses.replace(comparison, seen=(*new, *comparison.seen)[:MOST])


def pinned(comparison: Comparison, which: Any, link: str) -> Comparison:
    """Return the comparison with a run pinned as `a` or `b`, or let go where it was; RecipeError for another name."""
    if which not in PINS:
        raise RecipeError("A run is pinned as 'a' or as 'b'.")
    now = getattr(comparison, which)
    return dataclasses.replace(remembered(comparison, link), **{which: "" if link == now else link})


def swapped(comparison: Comparison) -> Comparison:
    """Return the comparison with A and B exchanged."""
    return dataclasses.replace(comparison, a=comparison.b, b=comparison.a)


def sorted_by(comparison: Comparison, column: str) -> Comparison:
    """Return the comparison ordered by a column; chosen again, the other way round."""
    again, task = column == comparison.sort, column.startswith("task ")
    rising = not comparison.rising if again else not (task or column in FALLING)
    return dataclasses.replace(comparison, sort=column, rising=rising)


def order(comparison: Comparison) -> str:
    """Return the order of the list as a word, `-average` where values rise; empty for the first one."""
    word = f"{'-' if comparison.rising else ''}{comparison.sort}"
    return "" if word == FIRST_SORT else word


def ordered(comparison: Comparison, word: str) -> Comparison:
    """Return the comparison in the order of a word."""
    return dataclasses.replace(comparison, sort=word.removeprefix("-") or FIRST_SORT, rising=word.startswith("-"))


def of_suite(comparison: Comparison, suite: str) -> Comparison:
    """Return the part of a comparison that is about one suite."""
    kept = {which: link if link and recipe_at(link).suite == suite else "" for which, link in pins_of(comparison)}
    seen = tuple(link for link in comparison.seen if recipe_at(link).suite == suite)
    return dataclasses.replace(comparison, seen=seen, **kept)


def pins_of(comparison: Comparison) -> list[tuple[str, str]]:
    """Return name and link of both pins."""
    return list(zip(PINS, comparison.pins, strict=True))


def opened(comparison: Comparison, given: Mapping[str, str]) -> Comparison:
    """Return the comparison with the pins of a URL query; raises RecipeError when one cannot be read."""
    links = {which: recipe_at(link).to_link() if (link := given.get(which)) else "" for which in PINS}
    return dataclasses.replace(remembered(comparison, *links.values()), **links)


@lru_cache(maxsize=1024)
def recipe_at(link: str) -> Recipe:
    """Return the recipe of a link; raises RecipeError for anything else."""
    return Recipe.from_link(link)
