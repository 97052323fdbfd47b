"""Which single inputs a visitor looks at: narrowed to a task, to where they were sent, or to points of the map."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from dataclasses import dataclass

from merge_engine.errors import RecipeError

GROUP = re.compile(r"(.{1,100}?)((?:\.\d{1,7})+)")
KEY = re.compile(r"([^:]{1,100}):(\d{1,7})")
WAYS = {"lost": "{} right, this run wrong", "won": "this run right, {} wrong", "sent": "sent elsewhere by {}"}
CIRCLED = 200  # inputs that can be picked out on the map


@dataclass(frozen=True)
class Choice:
    """Inputs of `task` that were sent to the expert `sent`, empty for all, or those `circled` on the map.

    `versus` narrows them to those that the pinned run sees otherwise, in one of the `WAYS`. `chosen` is the key of the
    one that is explained, such as `digits:12`; `deep` is the task whose routing by depth is shown. `yours` is the
    number of a picture of the visitor's own, which is kept in memory and never part of a link.
    """

    task: str = ""
    sent: str = ""
    circled: tuple[str, ...] = ()
    chosen: str = ""
    deep: str = ""
    yours: int | None = None
    versus: str = ""

    @property
    def narrow(self) -> bool:
        return bool(self.task or self.sent or self.circled or self.versus)


def key_of(task: str, index: int) -> str:
    """Return the word for one input."""
    return f"{task}:{index}"


def parsed(key: str) -> tuple[str, int] | None:
    """Return task and place of an input from its word, None for anything else."""
    found = KEY.fullmatch(key)
    return (found[1], int(found[2])) if found else None


def narrowed(
    choice: Choice, *, task: str | None = None, sent: str | None = None, versus: str | None = None
) -> Choice:
    """Return the choice of other inputs; None leaves a task, an expert or a way as it is."""
    given = {"task": task, "sent": sent, "versus": versus}
    return dataclasses.replace(choice, **{k: v for k, v in given.items() if v is not None}, circled=())


def circled(choice: Choice, keys: Iterable[str]) -> Choice:
    """Return the choice of the inputs that were drawn around on the map."""
    return dataclasses.replace(choice, circled=tuple(dict.fromkeys(keys))[:CIRCLED])


def to_word(keys: Iterable[str]) -> str:
    """Return inputs as a word for an address: `digits.3.17~emoji.2`."""
    places: dict[str, list[int]] = {}
    for task, index in filter(None, map(parsed, keys)):
        places.setdefault(task, []).append(index)
    return "~".join(".".join((task, *map(str, sorted(indices)))) for task, indices in places.items())


def from_word(word: str) -> list[str]:
    """Return the inputs of a word; raises RecipeError for anything else."""
    keys = []
    for part in filter(None, word.split("~")):
        found = GROUP.fullmatch(part)
        if not found:
            raise RecipeError("The inputs drawn around in this link cannot be read; draw around them again.")
        keys += [key_of(found[1], int(index)) for index in found[2].split(".")[1:]]
    return keys


def words(choice: Choice) -> str:
    """Return what the inputs were narrowed to: `emoji sent to icons`."""
    if choice.circled:
        return f"{len(choice.circled)} input{'s' if len(choice.circled) != 1 else ''} from the map"
    differing = "differing" if choice.versus else ""
    return " ".join(filter(None, (differing, choice.task, f"sent to {choice.sent}" if choice.sent else "")))
