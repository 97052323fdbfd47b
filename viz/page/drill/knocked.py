"""Merges without something, scored beside the run they are compared with and never among the results of recipes."""

from __future__ import annotations

import dataclasses
import time
from collections import OrderedDict
from collections.abc import Generator

from merge_engine.answers import Predicted
from merge_engine.contract import Context
from merge_engine.evaluate import score_steps
from merge_engine.flips import Flips, flips
from merge_engine.knock_out import without_steps
from merge_engine.merged import Merged
from merge_engine.precision import KNOWN
from merge_engine.runs.run import own_tasks, problem_of
from merge_engine.suite import Suite, load_suite
from viz.panels.flips import Flip, FlipView, TaskChange

from ..compare.against import Against, Told
from ..record import Run
from ..remaining import Countdown
from ..workbench import FIRST, Going, Runs, Workbench
from .asking import cost_of
from .knock import parsed, said

KEPT = 12  # runs whose single inputs are remembered
EXAMPLES = 16  # inputs shown of every kind of change


class Knocked:
    """Runs without something by recipe and words, shared by all visitors; only in memory."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self._runs: OrderedDict[tuple[str, tuple[str, ...]], Run] = OrderedDict()

    def get(self, base: Run, words: tuple[str, ...]) -> Run | None:
        """Return what the recipe of a run scored without something, whole or so far."""
        return self._runs.get((base.recipe.digest, words))

    def run(self, base: Run, words: tuple[str, ...], going: Going = lambda: True) -> Runs:
        """Merge the recipe of `base` without something and score it on the same tasks, unless that was done.

        It is scored in the precision of `base`, which may be a stored run of another machine.
        """
        known = self.get(base, words)
        if known is not None and not known.partial:
            return known
        with self.bench.working():
            merged, last = yield from self._merge(base, words, going)
            if merged is None:
                return self._keep(last, words)
            return (yield from self._score(base, words, merged, last, going))

    def _merge(
        self, base: Run, words: tuple[str, ...], going: Going
    ) -> Generator[Run, None, tuple[Merged | None, Run]]:
        recipe, started = base.recipe, time.perf_counter()
        method, post = recipe.build()
        suite = load_suite(recipe.suite)
        problem, ctx = problem_of(suite, recipe), Context(suite.device, recipe.seed, self.bench.svd)
        steps = without_steps(problem, parsed(words), method, post, ctx, self.bench.merged(recipe))
        countdown = Countdown(cost_of(self.bench, base).merge)
        run = Run(recipe, "merging", precision=base.precision)
        yield run
        try:
            while going():
                step, seconds = next(steps), time.perf_counter() - started
                left = countdown.left(step.done, step.total)
                run = dataclasses.replace(run, step=step, merge_seconds=seconds, left=left)
                yield run
        except StopIteration as end:
            return end.value, dataclasses.replace(run, merge_seconds=time.perf_counter() - started)
        finally:
            steps.close()
        return None, dataclasses.replace(run, phase="stopped")

    def _score(self, base: Run, words: tuple[str, ...], merged: Merged, last: Run, going: Going) -> Runs:
        suite, started = load_suite(base.recipe.suite), time.perf_counter()
        run = begun = dataclasses.replace(last, phase="scoring")
        for scores in score_steps(suite, merged, list(base.scores), first=FIRST, dtype=KNOWN[base.precision]):
            run = dataclasses.replace(begun, scores=scores, score_seconds=time.perf_counter() - started)
            yield self._keep(run, words)
            if not going():
                return self._keep(dataclasses.replace(run, phase="stopped"), words)
        return self._keep(dataclasses.replace(run, phase="done"), words)

    def _keep(self, run: Run, words: tuple[str, ...]) -> Run:
        self._runs[run.recipe.digest, words] = run
        self._runs.move_to_end((run.recipe.digest, words))
        while len(self._runs) > KEPT:
            self._runs.popitem(last=False)
        return run


def flip_view(base: Run, run: Run, words: tuple[str, ...], pinned: Against | None = None) -> FlipView | None:
    """Return what changed between a run and the one without something, on the inputs that both scored.

    None until every task of the first has begun: a mean over some of them would say nothing. `pinned` is what another
    run said about the inputs.
    """
    if not run.scores or not base.scores.keys() <= run.scores.keys():
        return None
    suite, experts = load_suite(base.recipe.suite), base.recipe.experts
    own, tasks, examples = own_tasks(suite, base.recipe), [], {"wrong": [], "right": [], "other": []}
    agrees = dict.fromkeys(examples, 0) if pinned and pinned.tasks else {}
    for task, score in run.scores.items():
        before, after = base.scores[task].said if task in base.scores else None, score.said
        if before is None or after is None:
            continue
        found = flips(before, after, experts)
        counts = {kind: len(getattr(found, kind)) for kind in examples}
        tasks.append(TaskChange(task, found.n, found.before, found.after, seen=task in own, **counts))
        told = pinned.tasks.get(task) if pinned else None
        for kind, lists in examples.items():
            lists.append(_examples(suite, experts, found, before, after, kind, told))
            if told is not None:
                agrees[kind] += int(told.right[before.index[getattr(found, kind)]].sum())
    shown = (one for lists in examples.values() for one in _in_turn(lists, EXAMPLES))
    total = sum(run.scores[change.task].total for change in tasks)
    scoring, letter = run.phase == "scoring", pinned.letter if pinned else ""
    return FlipView(said(words), tuple(tasks), tuple(shown), scoring, total, letter, agrees) if tasks else None


def said_of(base: Run, run: Run | None, task: str, index: int) -> tuple[str, str] | None:
    """Return what a run and the one without something say of an input; None where either was not asked."""
    found = []
    for one in (base, run):
        said = one.scores[task].said if one is not None and task in one.scores else None
        rows = [] if said is None else (said.index == index).nonzero()[0].tolist()
        if said is None or not rows:
            return None
        classes = load_suite(base.recipe.suite).task(task).classes
        found.append(_answer(said, rows[0], classes, base.recipe.experts))
    return found[0], found[1]


def _examples(
    suite: Suite, experts: tuple[str, ...], found: Flips, before: Predicted, after: Predicted, kind: str,
    told: Told | None,
) -> list[Flip]:  # fmt: skip
    """Return the first inputs of a task that flipped one way, with what was said of them, by the pinned run too."""
    classes, pictures = suite.task(found.task).classes, suite.pictures(found.task, "score")
    shown = []
    for row in getattr(found, kind)[:EXAMPLES].tolist():
        index, label = int(before.index[row]), classes[before.label[row]]
        was, now = (_answer(said, row, classes, experts) for said in (before, after))
        other = told.of(index)[0] if told is not None else ""
        shown.append(Flip(found.task, index, pictures[index], label, was, now, kind, other))
    return shown


def _answer(said: Predicted, row: int, classes: tuple[str, ...], experts: tuple[str, ...]) -> str:
    """Return the class that was said, or the expert that an input was sent to in place of its own."""
    sent = None if said.picked is None or said.task not in experts else experts[said.picked[row]]
    return classes[said.guess[row]] if sent in (None, said.task) else f"sent to {sent}"


def _in_turn(lists: list[list[Flip]], most: int) -> list[Flip]:
    """Return at most so many inputs, taking one of every task after another, task by task."""
    order = sorted((place, i) for i, own in enumerate(lists) for place in range(len(own)))[:most]
    return [lists[i][place] for i, place in sorted((i, place) for place, i in order)]
