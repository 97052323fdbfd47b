"""The grid of a sweep: which hyper-parameters can be swept, over which values, and in which order.

An axis is written `NAME`, `NAME=LOW:HIGH:POINTS` or `NAME=A,B,C`; a post-step's parameter is `KEY.NAME`.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import RecipeError, no_such
from ..hp import HP, Number, declared
from ..methods import method_class
from .recipe import Recipe

CURVE, PLANE = 9, 6  # values along an axis, when there is one and when there are two
MOST = 31  # values along one axis, as many as a published scaling curve has
WIDE = 100  # a range that spans this ratio is walked in equal ratios
Values = tuple[Number, ...]


@dataclass(frozen=True)
class Axis:
    """One swept hyper-parameter: of the method (position 0) or of a post-step (1, 2, …), and its values, ascending."""

    position: int
    owner: str
    hp: HP
    values: Values

    @property
    def word(self) -> str:
        """Return its name as it is written in a command or a link."""
        return f"{self.owner}.{self.hp.name}" if self.position else self.hp.name

    @property
    def wide(self) -> bool:
        """True where the values are better seen on a logarithmic axis."""
        return _is_wide(self.values[0], self.values[-1])

    def value_in(self, recipe: Recipe) -> Number | str:
        """Return the value of this hyper-parameter in a recipe, or the word in its place."""
        steps = (recipe.parameters, *(given for _, given in recipe.post))
        return dict(steps[self.position])[self.hp.name]


def sweepable(recipe: Recipe) -> dict[str, tuple[int, str, HP]]:
    """Return the numbers of a recipe that can be swept, by their words: (position, owner, declaration)."""
    found = {}
    for position, owner in enumerate((recipe.method, *(key for key, _ in recipe.post))):
        for name, hp in declared(method_class(owner)).items():
            if hp.type in (int, float) and not hp.per_expert and not hp.choices:
                found[f"{owner}.{name}" if position else name] = position, owner, hp
    return found


def axis_of(recipe: Recipe, text: str, count: int = CURVE) -> Axis:
    """Return the axis that a text describes; raises RecipeError for a parameter that cannot be swept, or its values.

    Without values it takes about `count`: the declared sweep values and the ends of the declared range.
    """
    word, equals, given = (part.strip() for part in text.partition("="))
    known = sweepable(recipe)
    if word not in known:
        if not known:
            raise RecipeError(f"{method_class(recipe.method).title} has no number that could be swept.")
        raise RecipeError(no_such(f"number to sweep in {recipe.method}", word[:80], known))
    position, owner, hp = known[word]
    if equals:
        values = [hp.check(value, method_class(owner).__name__) for value in _given(hp, word, given)]
    else:
        values = default_values(hp, count)
    values = tuple(sorted(set(values)))
    if not 2 <= len(values) <= MOST:
        raise RecipeError(f"A sweep over {word} takes 2 to {MOST} different values; got {len(values)}.")
    return Axis(position, owner, hp, values)


def default_values(hp: HP, count: int) -> Values:
    """Return about `count` legal values of a hyper-parameter, ascending.

    Declared sweep values with the published default and the ends of the declared range; values between them where they
    are few, fewer of them where they are many. Without sweep values the range is walked evenly.
    """
    if not hp.sweep:
        return _walked(hp, count)
    found = sorted({_legal(hp, value) for value in (*hp.sweep, *(hp.soft or ()), hp.default) if value != hp.word})
    return _filled(hp, found, count) if len(found) < count else _thinned(found, count, hp.default)


def even(low: Number, high: Number, count: int) -> list[float]:
    """Return `count` values from low to high, in equal steps, or in equal ratios where the range is wide."""
    wide = _is_wide(low, high)
    found = np.geomspace(low, high, count) if wide else np.linspace(low, high, count)
    return [float(f"{value:.3g}") if wide else float(f"{value:.6g}") for value in found]


def at(recipe: Recipe, axes: Sequence[Axis], values: Sequence[Number]) -> Recipe:
    """Return the recipe with the swept numbers at some values."""
    steps = [dict(recipe.parameters), *(dict(given) for _, given in recipe.post)]
    for axis, value in zip(axes, values, strict=True):
        steps[axis.position][axis.hp.name] = value
    post = tuple((key, given) for (key, _), given in zip(recipe.post, steps[1:], strict=True))
    return dataclasses.replace(recipe, parameters=steps[0], post=post)


def coarse_first(count: int) -> list[int]:
    """Return the places 0 … count−1: the ends, then the middle, then ever finer in between."""
    found, stretches = dict.fromkeys((0, count - 1)), [(0, count - 1)]
    while len(found) < count:
        finer = []
        for low, high in stretches:
            middle = (low + high) // 2
            found.setdefault(middle)
            finer += [(low, middle), (middle, high)]
        stretches = [(low, high) for low, high in finer if high - low > 1]
    return list(found)


def visits(axes: Sequence[Axis], cheap: Mapping[str, bool]) -> list[Values]:
    """Return the grid points in the order in which they are visited.

    An axis is cheap when moving along it needs no new merge of the experts; it is walked innermost, whole, for every
    value of the other. Where both are alike the whole grid is refined at once.
    """
    ranks = [[axis.values[place] for place in coarse_first(len(axis.values))] for axis in axes]
    places = list(itertools.product(*(range(len(rank)) for rank in ranks)))
    costly = [number for number, axis in enumerate(axes) if not cheap[axis.word]]
    if len(costly) == 1:
        places.sort(key=lambda place: (place[costly[0]], place))
    else:
        places.sort(key=lambda place: (max(place), sum(place), place))
    return [tuple(rank[i] for rank, i in zip(ranks, place, strict=True)) for place in places]


def _given(hp: HP, word: str, text: str) -> Iterable[Any]:
    """Return the values of LOW:HIGH:POINTS or A,B,C, not checked yet."""
    if ":" not in text:
        return [part.strip() for part in text.split(",") if part.strip()]
    try:
        low, high, points = text.split(":")
        ends, count = (float(low), float(high)), int(points)
        if not all(map(math.isfinite, ends)) or ends[0] >= ends[1] or not 2 <= count <= MOST:
            raise ValueError
    except ValueError:
        raise RecipeError(
            f"The values of {word} are LOW:HIGH:POINTS with 2 to {MOST} points, or A,B,C; got '{text[:80]}'."
        ) from None
    found = even(*ends, count)
    return [round(value) for value in found] if hp.type is int else found


def _is_wide(low: Number, high: Number) -> bool:
    return low > 0 and high / low >= WIDE


def _legal(hp: HP, value: Number) -> Number:
    """Return a value inside the legal range, a whole number where one is declared."""
    value = max(hp.low, value) if hp.low is not None else value
    value = min(hp.high, value) if hp.high is not None else value
    return round(value) if hp.type is int else float(value)


def _walked(hp: HP, count: int) -> Values:
    """Return the declared range in even steps; a published default inside it takes the place of the nearest one."""
    if hp.span is None:
        raise RecipeError(f"{hp.name} declares no range; give its values, such as {hp.name}=LOW:HIGH:POINTS.")
    low, high = hp.span
    values = even(low, high, count)
    if hp.step and not _is_wide(low, high):
        values = [low, *(float(f"{round(value / hp.step) * hp.step:.6g}") for value in values[1:-1]), high]
    if hp.default != hp.word and low < hp.default < high:
        nearest = min(range(1, count - 1), key=lambda place: abs(values[place] - hp.default))
        values[nearest] = hp.default
    return tuple(sorted({_legal(hp, value) for value in values}))


def _filled(hp: HP, values: list[Number], count: int) -> Values:
    """Return the values with new ones in the middle of the widest gaps, as long as there is room."""
    values = list(values)
    wide = _is_wide(values[0], values[-1])
    while len(values) < count:
        gaps = [math.log(b / a) if wide else b - a for a, b in itertools.pairwise(values)]
        place = gaps.index(max(gaps))
        low, high = values[place], values[place + 1]
        middle = _legal(hp, float(f"{math.sqrt(low * high) if wide else (low + high) / 2:.3g}"))
        if not low < middle < high:
            break
        values.insert(place + 1, middle)
    return tuple(values)


def _thinned(values: list[Number], count: int, kept: Number) -> Values:
    """Return about `count` of the values: the ends, those evenly between them, and the kept one."""
    places = {round(place) for place in np.linspace(0, len(values) - 1, count)}
    return tuple(value for place, value in enumerate(values) if place in places or value == kept)
