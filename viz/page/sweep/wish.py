"""What a visitor wants to see swept: one or two numbers of the recipe, their values, on how many pictures."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass

PICTURES = (25, 50, 100)
SPLITS = {"validation": "validation pictures, where choosing is fair", "score": "test pictures, to look at only"}
WORD = re.compile(r"[a-z][a-z0-9_]{0,40}(\.[a-z][a-z0-9_]{0,40})?")
LENGTH, AXES = 160, 12  # characters of typed values, and axes whose values are remembered


@dataclass(frozen=True)
class Wish:
    """`first` and `second` are words of numbers such as `rank` or `svc.floor`; empty: the recipe's first, and none.

    `typed` holds the values that were typed for some numbers, as (word, `0:1:9` or `0.1, 0.2`).
    """

    first: str = ""
    second: str = ""
    typed: tuple[tuple[str, str], ...] = ()
    pictures: int = 50
    split: str = "validation"


def effective(wish: Wish, known: Sequence[str]) -> Wish:
    """Return the wish with numbers that the recipe has: its scaling, or its first, where the wished one is missing."""
    first = wish.first if wish.first in known else "scaling" if "scaling" in known else next(iter(known), "")
    second = wish.second if wish.second in known and wish.second != first else ""
    return dataclasses.replace(wish, first=first, second=second)


def over(wish: Wish) -> list[str]:
    """Return the axes as texts that the engine reads."""
    typed = dict(wish.typed)
    return [f"{word}={typed[word]}" if word in typed else word for word in (wish.first, wish.second) if word]


def with_values(wish: Wish, word: str, text: str) -> Wish:
    """Return the wish with other values along one number; a blank text gives them back to the engine."""
    others = tuple(pair for pair in wish.typed if pair[0] != word)
    added = ((word, text.strip()[:LENGTH]),) if text.strip() else ()
    return dataclasses.replace(wish, typed=(*others, *added)[-AXES:])


def to_query(wish: Wish) -> str:
    """Return the wish as a word of a link, empty for the first one: `rank=0:1:9;scaling@50@validation`."""
    if wish == Wish():
        return ""
    return f"{';'.join(over(wish))}@{wish.pictures}@{wish.split}"


def from_query(text: str) -> Wish:
    """Return the wish of a link; whatever does not make sense is left out."""
    axes, pictures, split = (*text.split("@"), "", "")[:3]
    found = Wish()
    for place, axis in enumerate(axes.split(";")[:2]):
        word, _, values = axis.partition("=")
        if WORD.fullmatch(word):
            found = dataclasses.replace(found, **{("first", "second")[place]: word})
            found = with_values(found, word, values)
    found = dataclasses.replace(found, split=split) if split in SPLITS else found
    return dataclasses.replace(found, pictures=int(pictures)) if pictures in map(str, PICTURES) else found
