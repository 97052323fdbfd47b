"""Running a method and its post-steps: step by step, or to the end."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar

from .contract import Context, MergeMethod, Step
from .errors import RecipeError
from .merged import Merged
from .problem import Problem
from .tensorwise import PostStep

Moment = TypeVar("Moment")


def merge_steps(
    problem: Problem, method: MergeMethod, post: tuple[PostStep, ...] = (), ctx: Context | None = None
) -> Generator[Step, None, Merged]:
    """Run a method and its post-steps, yielding Steps; the generator's return value is the `Merged`."""
    ctx = ctx or Context()
    if isinstance(method, PostStep):
        raise RecipeError(f"{method.title} is a post-step; choose a merge method and add it after.")
    merged = yield from method.run(problem, ctx)  # type: ignore[attr-defined]
    for step in post:
        merged = yield from step.run_on(merged, problem, ctx)
    return merged


def drive(steps: Generator[Moment, None, Any], on_step: Callable[[Moment], None] | None = None) -> Any:
    """Run a generator to its end, calling `on_step` for each Step or pause, and return its value."""
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value
        if on_step is not None:
            on_step(step)


def merge(
    problem: Problem, method: MergeMethod, post: tuple[PostStep, ...] = (), ctx: Context | None = None
) -> Merged:
    """Merge the experts of a problem and return the result."""
    return drive(merge_steps(problem, method, post, ctx))
