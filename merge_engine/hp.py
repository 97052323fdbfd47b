"""Hyper-parameters that know their range, step, symbol and meaning.

`hp(...)` is `dataclasses.field` with metadata. Controls, command-line options, the recipe schema, the
reference and the tests of bad values are all read from it, so a range is written once.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import RecipeError, no_such

Number = int | float


@dataclass(frozen=True)
class HP:
    """The declaration of one hyper-parameter, as read back from a method class."""

    name: str
    type: type
    default: Any
    help: str
    low: Number | None = None
    high: Number | None = None
    soft: tuple[Number, Number] | None = None
    step: Number | None = None
    symbol: str = ""
    choices: tuple[str, ...] = ()
    per_expert: bool = False
    pairs: bool = False
    sweep: tuple[Any, ...] = ()
    word: str = ""

    @property
    def span(self) -> tuple[Number, Number] | None:
        """Range of a slider: `soft` where given, else the legal range if it is finite."""
        if self.soft is not None:
            return self.soft
        return None if self.low is None or self.high is None else (self.low, self.high)

    def allowed(self) -> str:
        """Return the legal values in words."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.type is bool:
            return "true or false"
        if self.pairs:
            return "NAME=VALUE, separated by commas, or nothing"
        what = "a whole number" if self.type is int else "a number"
        if self.low is not None and self.high is not None:
            what += f" in [{self.low:g}, {self.high:g}]"
        elif self.low is not None:
            what += f" of at least {self.low:g}"
        elif self.high is not None:
            what += f" of at most {self.high:g}"
        what += f", or {self.word}" if self.word else ""
        return f"{what} for each expert, or nothing" if self.per_expert else what

    def check(self, value: Any, owner: str) -> Any:
        """Return `value` in its declared type, or raise RecipeError with the promised sentence."""
        try:
            return self._coerce(value)
        except (TypeError, ValueError, OverflowError):
            raise RecipeError(f"{owner}.{self.name} must be {self.allowed()}; got {value!r}.") from None

    def _coerce(self, value: Any) -> Any:
        if self.per_expert:
            return tuple(self._number(v) for v in _sequence(value))
        if self.choices:
            if value not in self.choices:
                raise ValueError
            return value
        if self.type is bool:
            return _boolean(value)
        if self.pairs:
            return written(pairs_of(value))
        return self.word if self.word and value in ("", self.word) else self._number(value)

    def _number(self, value: Any) -> Number:
        if isinstance(value, bool):
            raise TypeError
        number = float(value)
        if not math.isfinite(number) or (self.type is int and number != int(number)):
            raise ValueError
        if (self.low is not None and number < self.low) or (self.high is not None and number > self.high):
            raise ValueError
        return int(number) if self.type is int else number


def pairs_of(text: Any) -> dict[str, str]:
    """Return a text of NAME=VALUE pairs, separated by commas, as a dictionary; TypeError or ValueError for another."""
    if not isinstance(text, str):
        raise TypeError
    found: dict[str, str] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not (name and equals and value) or name in found:
            raise ValueError
        found[name] = value
    return found


def written(settings: Mapping[str, Any]) -> str:
    """Return settings as one text, alike for equal settings: `covariance=task, shrinkage=0.2`."""
    return ", ".join(f"{name}={_plain(value)}" for name, value in sorted(settings.items()))


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def read_settings(text: str, known: Mapping[str, HP], owner: str) -> dict[str, Any]:
    """Return the values that a text such as `shrinkage=0.2` gives to some known hyper-parameters of an owner.

    Raises RecipeError for a name that is not among them, naming the nearest one, and for an illegal value.
    """
    given = pairs_of(text)
    for name in given:
        if name not in known:
            raise RecipeError(no_such(f"parameter of {owner} to set", name, known))
    return {name: known[name].check(value, owner) for name, value in given.items()}


def _sequence(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [part for part in value.replace(",", " ").split() if part]
    if isinstance(value, int | float):
        raise TypeError
    return list(value)


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).lower()
    if text in {"true", "yes", "on", "1"}:
        return True
    if text in {"false", "no", "off", "0"}:
        return False
    raise ValueError


def hp(default: Any, help: str, **declared: Any) -> Any:
    """Declare a hyper-parameter of a method.

    `low`/`high` is the legal range, `soft` what a slider spans, `step` its step, `symbol` the letter in the
    formula, `choices` the legal strings (or a function that lists them when they are asked for), `per_expert` a
    tuple with one number per expert (empty: all equal), `pairs` a text of NAME=VALUE pairs (see `read_settings`),
    `sweep` the values tried on the validation split for the results table, and `word` what may stand in place of a
    number, as may nothing, where the method knows one.
    """
    return dataclasses.field(default=default, metadata={"hp": {"help": help, **declared}})


def like(cls: type, name: str) -> Any:
    """Declare a hyper-parameter as another class does."""
    field = next(f for f in dataclasses.fields(cls) if f.name == name)
    return hp(field.default, **field.metadata["hp"])


def declared(cls: type) -> dict[str, HP]:
    """Return the hyper-parameters of a method class by name, in order of declaration."""
    hints = _hints(cls)
    found = {}
    for field in dataclasses.fields(cls):
        if "hp" in field.metadata:
            given: dict[str, Any] = {k: v() if callable(v) else v for k, v in field.metadata["hp"].items()}
            found[field.name] = HP(field.name, _scalar(hints[field.name]), field.default, **given)
    return found


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _scalar(hint: Any) -> type:
    """float for `float`, `int | float` and `tuple[float, ...]`; otherwise the type itself."""
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union, tuple):
        args = typing.get_args(hint)
        return float if float in args else args[0]
    if isinstance(origin, type):
        return origin
    return str if origin is typing.Literal else hint


def check_names(given: typing.Iterable[str], cls: type) -> None:
    """Raise RecipeError for a parameter that the method does not declare, naming the nearest one."""
    known = declared(cls)
    for name in given:
        if name not in known:
            raise RecipeError(no_such(f"parameter of {cls.__name__}", name, known))
