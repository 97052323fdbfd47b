"""Running a recipe on a suite: merge, score beside the baselines, and describe how."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..adapting.history import History
from ..adapting.live import Point, Watch
from ..contract import Context, Step
from ..errors import SuiteError, no_such
from ..evaluate import UNWATCHED, Score, score_steps
from ..merged import Merged
from ..problem import Problem
from ..running import merge_steps
from ..suite import Suite
from .baselines import Baseline, Baselines, Pair
from .content import suite_digest
from .protocol import Protocol
from .recipe import Recipe
from .results import Result, TaskAccuracy, averages


@dataclass(frozen=True)
class Run:
    """A finished run: what came out, the record of it, and what was scored."""

    merged: Merged
    result: Result
    scores: Mapping[str, Score] = field(default_factory=dict)


def run_steps(
    suite: Suite,
    recipe: Recipe,
    protocol: Protocol | None,
    ctx: Context | None = None,
    *,
    chosen: str = "as given",
) -> Generator[Step, None, Run]:
    """Merge by a recipe and, with a protocol, score; yields Steps and returns the Run."""
    method, post = recipe.build()
    method.check(recipe.experts)
    ctx = ctx or Context(suite.device, recipe.seed)
    suite, seen = protocol.suites(suite) if protocol else (suite, suite)
    content = suite_digest(suite, recipe.experts, protocol.split if protocol else "score")
    start = time.perf_counter()
    steps = merge_steps(problem_of(seen, recipe, protocol.half if protocol else "adapt"), method, post, ctx)
    watch = None
    if protocol is not None and protocol.watch:
        watch = Watch(suite, own_tasks(suite, recipe), protocol.split, protocol.watch)
        steps = watch.steps(steps)
    merged = yield from steps
    seconds = {"merge": time.perf_counter() - start, "score": 0.0}
    if protocol is None:
        return Run(merged, describe(recipe, merged, seconds, "Merged, not scored.", content))
    tasks = scored_tasks(suite, recipe, merged, protocol)
    baselines = Baselines(suite, protocol.split)
    fixed = yield from baselines.steps(baseline_pairs(suite, recipe, tasks), protocol.limit)
    warm(suite, tasks, protocol.split)
    start = time.perf_counter()
    scores = yield from scoring(suite, merged, tasks, protocol)
    seconds["score"] = time.perf_counter() - start
    accuracy = beside_baselines(suite, recipe, scores, fixed)
    sentence = protocol.sentence([a.n for a in accuracy.values()], (method, *post), chosen, bool(routes(scores)))
    result = describe(
        recipe, merged, seconds, sentence, content,
        accuracy=accuracy, routed=routes(scores), curve=watch.points if watch else (),
        own=own_tasks(suite, recipe), unseen=suite.unseen, protocol=protocol,
    )  # fmt: skip
    return Run(merged, result, scores)


def problem_of(suite: Suite, recipe: Recipe, half: str = "adapt") -> Problem:
    """Return the problem of a recipe's experts; labels are open to a method that needs them, to no other."""
    return suite.problem(recipe.experts, half, recipe.build()[0].needs, recipe.seed)


def scoring(
    suite: Suite, merged: Merged, tasks: Sequence[str], protocol: Protocol
) -> Generator[Step, None, dict[str, Score]]:
    """Score a model to the end, yielding Steps counted in pictures."""
    limits = {"limit": protocol.limit, "passes": UNWATCHED}
    steps = score_steps(suite, merged, tasks, split=protocol.split, first=128, **limits)
    sizes = {t: len(suite.indices(t, protocol.split)) for t in tasks}
    total = sum(size if protocol.limit is None else min(size, protocol.limit) for size in sizes.values())
    while True:
        try:
            scores = next(steps)
        except StopIteration as end:
            return end.value
        live = {f"{task} %": score.accuracy for task, score in scores.items()}
        yield Step(sum(s.n for s in scores.values()), total, "scoring", live)


def warm(suite: Suite, tasks: Sequence[str], split: str) -> None:
    """Build the model and prepare the inputs, once, so that the seconds of a run count its scoring alone."""
    suite.module.eval()
    for task in tasks:
        suite.prepared(task, split)


def scored_tasks(suite: Suite, recipe: Recipe, merged: Merged, protocol: Protocol) -> tuple[str, ...]:
    """Return the tasks to score: those asked for, or those of the experts, as far as the merge serves them."""
    tasks = own_tasks(suite, recipe) if protocol.tasks is None else protocol.tasks
    for task in tasks:
        suite.task(task)
    return tuple(t for t in tasks if merged.serves(t))


def own_tasks(suite: Suite, recipe: Recipe) -> tuple[str, ...]:
    """Return the tasks of the merged experts, in their order."""
    return tuple(dict.fromkeys(suite.task_of[expert] for expert in recipe.experts))


def expert_of(suite: Suite, recipe: Recipe, task: str) -> str | None:
    """Return the expert of a task, a merged one first; None where the suite has none."""
    return next((e for e in (*recipe.experts, *suite.experts) if suite.task_of[e] == task), None)


def baseline_pairs(suite: Suite, recipe: Recipe, tasks: Sequence[str]) -> list[Pair]:
    """Return what stands beside a merge: on each task, the pretrained model and the task's own expert."""
    experts = [(expert_of(suite, recipe, task), task) for task in tasks]
    return [(None, task) for task in tasks] + [pair for pair in experts if pair[0] is not None]


def beside_baselines(
    suite: Suite, recipe: Recipe, scores: Mapping[str, Score], fixed: Mapping[Pair, Baseline]
) -> dict[str, TaskAccuracy]:
    """Return merged, expert and pretrained accuracy of every task on the same pictures."""
    found = {}
    for task, score in scores.items():
        expert = expert_of(suite, recipe, task)
        individual = None if expert is None else fixed[expert, task].accuracy(score.n)
        found[task] = TaskAccuracy(score.accuracy, individual, fixed[None, task].accuracy(score.n), score.n)
    return found


def describe(
    recipe: Recipe,
    merged: Merged,
    seconds: Mapping[str, float],
    sentence: str,
    content: str,
    *,
    accuracy: Mapping[str, TaskAccuracy] | None = None,
    routed: Mapping[str, Mapping[str, int]] | None = None,
    curve: Sequence[Point] = (),
    own: tuple[str, ...] = (),
    unseen: tuple[str, ...] = (),
    protocol: Protocol | None = None,
) -> Result:
    """Return the record of a run; `own` are the tasks of the merged experts, which the averages are over."""
    plain = recipe.to_dict()
    return Result(
        **{key: plain[key] for key in ("suite", "method", "parameters", "seed")},
        experts=recipe.experts,
        post=tuple(plain["post"]),
        protocol=sentence,
        accuracy=accuracy or {},
        **averages(accuracy or {}, own, unseen),
        stored_parameters=merged.stored_parameters,
        forwards=merged.forwards,
        seconds=seconds,
        routed=routed or {},
        curve=tuple(point.to_dict() for point in curve),
        warnings=notes_of(merged),
        recipe=recipe.digest,
        split="" if protocol is None else protocol.split,
        limit=None if protocol is None else protocol.limit,
        half=protocol.half if protocol is not None and adapts(recipe) else "",
        corruption=corruption_of(protocol, recipe),
        content=content,
    )


def routes(scores: Mapping[str, Score]) -> dict[str, dict[str, int]]:
    """Return how many inputs of every task went to which expert; empty where the merge does not route."""
    return {task: dict(score.routed) for task, score in scores.items() if score.routed is not None}


def adapts(recipe: Recipe) -> bool:
    """True when the recipe's method adapts to unlabelled inputs of the test split."""
    return "stream" in recipe.build()[0].needs


def corruption_of(protocol: Protocol | None, recipe: Recipe) -> str:
    """Return the corruption in words, and what an adaptive method saw where it saw clean pictures."""
    if protocol is None or not protocol.corruption:
        return ""
    return protocol.corruption + (", adapted to clean" if protocol.clean_stream and adapts(recipe) else "")


def history_of(merged: Merged | None) -> History | None:
    """Return what happened while a merge adapted; None for those that did not."""
    return getattr(merged, "history", None)


def notes_of(merged: Merged) -> tuple[str, ...]:
    """Return the sentences a merge recorded for the user."""
    return tuple(getattr(merged, "notes", ()))


def recipe_for(
    suite: Suite,
    method: str,
    parameters: Mapping[str, Any] | None = None,
    experts: Sequence[str] | None = None,
    post: Sequence[tuple[str, Mapping[str, Any]]] = (),
    seed: int = 0,
) -> Recipe:
    """Return the recipe of a method on a suite, with all of its experts unless some are named."""
    for name in experts or ():
        if name not in suite.task_of:
            raise SuiteError(no_such(f"expert in suite {suite.name}", name, suite.task_of))
    if not (experts or suite.experts):
        raise SuiteError(f"Suite {suite.name} has no expert yet; run `python -m merge_engine train {suite.name}`.")
    chosen = tuple(suite.experts if experts is None else experts)
    return Recipe(suite.name, chosen, method, dict(parameters or {}), tuple(post), seed)

