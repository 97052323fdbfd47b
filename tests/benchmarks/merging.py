"""Every method on the bundled suite: seconds to merge and to score, beside one pass over all experts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from merge_engine.contract import Context
from merge_engine.evaluate import score
from merge_engine.methods import registry
from merge_engine.running import merge
from merge_engine.runs.table import CPU, Entry
from merge_engine.suite import load_suite

PICTURES = 50
T = TypeVar("T")


def every_method() -> list[dict[str, object]]:
    """Merge all experts by each method at its published default, or at its cpu preset, and score 50 pictures a task.

    The floor of merging is reading all tensors once, that of scoring the weight average on the same tasks.
    Decompositions come from the store where an earlier method left them.
    """
    suite = load_suite("pictures")
    ctx, rows = Context(), []
    for task in suite.seen:
        suite.prepared(task, "score")
    floor, _ = _timed(lambda: [group.task_vectors for group in suite.problem().groups()])
    average = merge(suite.problem(), Entry("average").recipe(suite).build()[0])
    score(suite, average, suite.seen, limit=1)
    plain, _ = _timed(lambda: score(suite, average, suite.seen, limit=PICTURES))
    for key, cls in registry().items():
        if cls.kind == "post":
            continue
        setting = CPU if CPU in cls.presets else "published"
        recipe = Entry(key).recipe(suite, setting)
        taken, merged = _timed(lambda r=recipe: merge(suite.problem(r.experts), r.build()[0], ctx=ctx))
        tasks = [suite.task_of[expert] for expert in recipe.experts]
        scored, _ = _timed(lambda m=merged, t=tasks: score(suite, m, t, limit=PICTURES))
        rows.append(
            {
                "method": key,
                "setting": setting,
                "experts": len(recipe.experts),
                "merge s": taken,
                "merge / one pass": taken / floor,
                "score s": scored,
                "score / average's": scored / plain * len(suite.seen) / len(tasks),
            }
        )
        print(".", end="", flush=True)
    return rows


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    found = work()
    return time.perf_counter() - start, found
