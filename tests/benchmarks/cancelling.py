"""How soon a run stops: the longest moment of every method on the bundled suite, and how long a cancel takes."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from threading import Timer

from merge_engine.contract import Context
from merge_engine.evaluate import score_steps
from merge_engine.maths.svd import SvdStore
from merge_engine.methods import method_class
from merge_engine.precision import live_dtype
from merge_engine.running import merge_steps
from merge_engine.runs.recipe import Recipe
from merge_engine.runs.run import problem_of
from merge_engine.runs.table import CPU, Entry, entries
from merge_engine.suite import Suite, load_suite
from viz.page.workbench import Workbench

WATCHED = 40.0  # seconds of a course that are watched
SHORT = {"steps": 3, "epochs": 2}  # a course is as wide as it is, and no longer than this
LATER = 3.0  # seconds after which a run is cancelled


def every_method() -> list[dict[str, object]]:
    """Run every line of the table from an empty store of decompositions, and cancel it as the page's button does.

    `merge gap` and `score gap` are the longest times between two moments at which a run can be stopped; `cancel` is
    the time from the press of the button to the end of the work, when it is pressed three seconds into the run.
    """
    suite, rows = load_suite("pictures"), []
    for task in suite.tasks:
        suite.prepared(task, "score")
    for line in entries():
        recipe = _short(suite, line)
        found: list = []
        merge, where = _longest(_merging(suite, recipe, found))
        score = _longest(score_steps(suite, found[0], first=16, dtype=live_dtype()))[0] if found else float("nan")
        rows.append(
            {"line": line.name, "merge gap": merge, "in": where, "score gap": score, "cancel": _cancelled(suite, line)}
        )
        print(".", end="", flush=True)
    return rows


def _short(suite: Suite, line: Entry) -> Recipe:
    """Return a line's recipe at its preset, its course cut short; WUDI's steps are the work on one tensor."""
    recipe = _whole(suite, line)
    given = dict(recipe.parameters)
    cut = {name: value for name, value in SHORT.items() if name in given and line.method != "wudi"}
    return dataclasses.replace(recipe, parameters=given | cut)


def _whole(suite: Suite, line: Entry) -> Recipe:
    return line.recipe(suite, CPU if CPU in method_class(line.method).presets else "published")


def _merging(suite: Suite, recipe: Recipe, found: list) -> Iterator[object]:
    method, post = recipe.build()
    found.append((yield from merge_steps(problem_of(suite, recipe), method, post, Context(svd=SvdStore(folder=None)))))


def _longest(steps: Iterator[object], clock: Callable[[], float] = time.perf_counter) -> tuple[float, str]:
    """Return the longest time between two moments, and the label of the moment after it."""
    longest, where, start = 0.0, "", clock()
    last = start
    for step in steps:
        now = clock()
        if now - last > longest:
            longest, where = now - last, getattr(step, "label", "")
        last = now
        if now - start > WATCHED:
            break
    return max(longest, clock() - last), where


def _cancelled(suite: Suite, line: Entry) -> float:
    """Return the seconds from the press of the button to the end of the work."""
    bench, pressed = Workbench(svd=SvdStore(folder=None)), []
    timer = Timer(LATER, lambda: pressed.append(time.perf_counter()))
    timer.start()
    for _ in bench.run(_whole(suite, line), lambda: not pressed):
        pass
    timer.cancel()
    return time.perf_counter() - pressed[0] if pressed else 0.0
