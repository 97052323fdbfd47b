"""Choosing hyper-parameters on the validation split: the declared `sweep` values, and the published default.

Parameters other than the scaling coefficient are tried in a full grid while it is small, else one after the other;
at every point of that grid all scaling coefficients are scored, which costs no merge. With post-steps, the method
keeps its own choice and the parameters of the post-steps are chosen. Equal scores go to the published default.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from ..contract import Context, Step
from ..hp import declared
from ..merged import Merged, StaticMerged
from ..methods import method_class
from ..running import merge_steps
from ..suite import Suite
from ..tensorwise import PostStep, TensorMerge
from .recipe import Recipe
from .run import Protocol, own_tasks, problem_of, scored_tasks, scoring

GRID_LIMIT = 12
Change = tuple[int, str, Any]
"""Position (0 the method, 1 its first post-step, …), parameter and value."""


@dataclass
class Merges:
    """Merges of a suite's experts; the latest is kept, so that another scaling coefficient never merges again.

    `kept` looks elsewhere for the merge of a recipe without post-steps before it is made.
    """

    suite: Suite
    ctx: Context = field(default_factory=Context)
    kept: Callable[[Recipe], Merged | None] = lambda recipe: None
    _key: Any = None
    _merged: Merged | None = None
    _seconds: float = 0.0

    def steps(self, recipe: Recipe) -> Generator[Step, None, tuple[Merged, float]]:
        """Merge by a recipe, or rescale what is kept; returns the merge and the seconds it took when it was made."""
        method, post = recipe.build()
        problem = problem_of(self.suite, recipe)
        key = direction(recipe)
        if key != self._key:
            self.ctx.seed, self.ctx.notes = recipe.seed, []
            start, found = time.perf_counter(), self.kept(replace(recipe, post=()))
            self._merged = found or (yield from merge_steps(problem, method, (), self.ctx))
            self._key, self._seconds = key, time.perf_counter() - start
        assert self._merged is not None
        merged, seconds = self._merged, self._seconds
        if scales(recipe) and isinstance(merged, StaticMerged):
            merged = merged.rescaled(dict(recipe.parameters)["scaling"])
        if post:
            self.ctx.notes, start = [], time.perf_counter()
            merged = yield from _after(merged, post, problem, self.ctx)
            seconds += time.perf_counter() - start
        return merged, seconds


def scales(recipe: Recipe) -> bool:
    """True where the engine applies the scaling coefficient after the merge."""
    cls = method_class(recipe.method)
    return issubclass(cls, TensorMerge) and "scaling" in declared(cls)


def direction(recipe: Recipe) -> tuple[Any, ...]:
    """Return what a merge of experts depends on: recipes alike in it share one, whatever follows."""
    fixed = tuple(pair for pair in recipe.parameters if not (scales(recipe) and pair[0] == "scaling"))
    return recipe.suite, recipe.method, recipe.experts, recipe.seed, fixed


@dataclass(frozen=True)
class Choice:
    """The chosen recipe, its average on the validation pictures, and how many settings were scored."""

    recipe: Recipe
    average: float
    tried: int


def choose_steps(merges: Merges, start: Recipe, protocol: Protocol) -> Generator[Step, None, Choice]:
    """Choose the swept parameters of a recipe by the mean accuracy over its experts' tasks."""
    search = _Search(merges, protocol)
    best = start
    yield from search.score([best])
    for group in _groups(start):
        for changes in group:
            yield from search.score(_scaled(_changed(search.best(best), changes)))
    best = search.best(best)
    return Choice(best, search.scores[best], len(search.scores))


@dataclass
class _Search:
    merges: Merges
    protocol: Protocol
    scores: dict[Recipe, float] = field(default_factory=dict)

    def score(self, recipes: Iterable[Recipe]) -> Generator[Step, None, None]:
        """Score recipes that were not scored yet."""
        for recipe in recipes:
            if recipe in self.scores:
                continue
            merged, _ = yield from self.merges.steps(recipe)
            tasks = scored_tasks(self.merges.suite, recipe, merged, self.protocol)
            found = yield from scoring(self.merges.suite, merged, tasks, self.protocol)
            own = own_tasks(self.merges.suite, recipe)
            self.scores[recipe] = sum(found[t].accuracy for t in own) / len(own)

    def best(self, start: Recipe) -> Recipe:
        """Return the best recipe so far; the first one scored wins a draw."""
        return max(self.scores, key=lambda r: self.scores[r], default=start)


def swept(recipe: Recipe) -> list[list[Change]]:
    """Return the values to try of every swept parameter but the scaling; with post-steps, of theirs alone."""
    steps = [recipe.method, *(key for key, _ in recipe.post)]
    first = 1 if recipe.post else 0
    return [
        [(position, name, value) for value in dict.fromkeys((hp.default, *hp.sweep))]
        for position, key in enumerate(steps)
        if position >= first
        for name, hp in declared(method_class(key)).items()
        if hp.sweep and (name != "scaling" or position)
    ]


def _groups(recipe: Recipe) -> list[list[tuple[Change, ...]]]:
    """Return one full grid, or one list per parameter when the grid would be large."""
    axes = swept(recipe)
    size = 1
    for axis in axes:
        size *= len(axis)
    if size <= GRID_LIMIT:
        return [list(itertools.product(*axes))]
    return [[(change,) for change in axis] for axis in axes]


def _changed(recipe: Recipe, changes: Iterable[Change]) -> Recipe:
    parameters = [dict(recipe.parameters), *(dict(given) for _, given in recipe.post)]
    for position, name, value in changes:
        parameters[position][name] = value
    post = tuple((key, given) for (key, _), given in zip(recipe.post, parameters[1:], strict=True))
    return Recipe(recipe.suite, recipe.experts, recipe.method, parameters[0], post, recipe.seed)


def _scaled(recipe: Recipe) -> list[Recipe]:
    """Return the recipe at every scaling coefficient to try; as it is after post-steps, which would run again."""
    hp = declared(method_class(recipe.method)).get("scaling")
    if hp is None or recipe.post:
        return [recipe]
    values = dict.fromkeys((dict(recipe.parameters)["scaling"], hp.default, *hp.sweep))
    return [_changed(recipe, [(0, "scaling", value)]) for value in values]


def _after(
    merged: Merged, post: tuple[PostStep, ...], problem: Any, ctx: Context
) -> Generator[Step, None, Merged]:
    for step in post:
        merged = yield from step.run_on(merged, problem, ctx)
    return merged
