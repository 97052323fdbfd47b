"""The page's hands on the engine: merge, score while it streams, rescale, remember. Knows no Gradio.

Everything long is a generator of `Run`s. It ends early, with a last `Run` whose phase is "stopped", when its
`going()` turns false; closing it stops the work at the next step.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator

from merge_engine.adapting.history import History
from merge_engine.adapting.live import Watch
from merge_engine.contract import Context
from merge_engine.evaluate import score_steps
from merge_engine.hp import declared
from merge_engine.maths.svd import SvdStore
from merge_engine.merged import Merged, StaticMerged
from merge_engine.methods import method_class
from merge_engine.precision import live_dtype
from merge_engine.routing.twin_energy import Energies, energy_steps, is_twin
from merge_engine.running import merge_steps
from merge_engine.runs.recipe import Recipe
from merge_engine.runs.run import history_of, own_tasks, problem_of
from merge_engine.suite import load_suite

from .costs import Costs, Seconds
from .inputs.insight import Insight
from .inputs.neighbourhoods import Neighbourhoods
from .memory import give_back
from .own.replies import Replies
from .own.usual import Usual
from .record import Record, Run
from .remaining import Countdown
from .shelf import Shelf
from .weights.drawn import Drawn
from .weights.measure import Measures

MEMORY = 1 << 30
ENERGIES = 16
FIRST = 16  # pictures of every task in the first estimate
PAUSE = 0.3  # seconds between two runs shown

Runs = Generator[Run, None, Run]
Going = Callable[[], bool]


class Workbench:
    """Merges and scores of one process, shared by all visitors."""

    def __init__(self, memory: int = MEMORY, svd: SvdStore | None = None) -> None:
        self.shelf, self.svd, self.record = Shelf(memory), svd or SvdStore(), Record()
        self.measures, self.drawn, self.insight = Measures(self.svd), Drawn(), Insight(self.svd)
        self.costs = Costs(self.svd)
        self.replies, self.usual = Replies(), Usual()
        self.near = Neighbourhoods(lambda: self.busy)
        self._energies: OrderedDict[str, Energies] = OrderedDict()
        self._active = 0

    @property
    def busy(self) -> bool:
        """True while somebody merges or scores; what can wait should."""
        return self._active > 0

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Say that somebody merges or scores, and give memory back afterwards."""
        self._active += 1
        try:
            yield
        finally:
            self._active -= 1
            give_back()

    def run(self, recipe: Recipe, going: Going = lambda: True) -> Runs:
        """Merge unless the same merge is kept at any scaling, then score; remembers what it measured."""
        with self.working():
            return (yield from self._run(recipe, going))

    def _run(self, recipe: Recipe, going: Going) -> Runs:
        started, curve = time.perf_counter(), ()
        merged = kept = self.merged(recipe)
        if merged is None:
            merged, last = yield from self._merge(recipe, going)
            curve = last.curve
            if merged is None:
                return self.record.keep(dataclasses.replace(last, phase="stopped"))
        seconds = time.perf_counter() - started
        key = direction_key(recipe)
        if kept is None:
            self.shelf.put(key, merged, seconds)
        self.record.follow(recipe, history_of(merged))
        size, notes = merged.stored_parameters, getattr(merged, "notes", ())
        begun = Run(
            recipe, "scoring", merge_seconds=self.shelf.seconds(key), stored_parameters=size, notes=notes,
            merged_now=kept is None, forwards=merged.forwards, curve=curve,
        )  # fmt: skip
        return (yield from self._score(begun, merged, going))

    def compare(self, recipe: Recipe, going: Going = lambda: True) -> Runs:
        """Measure what results are compared with, unless it is known; nobody waits for it, so nothing gives way."""
        known = self.record.known(recipe)
        if known is not None and not known.partial:
            return known
        merged, last = yield from self._merge(recipe, going)
        if merged is None:
            return dataclasses.replace(last, phase="stopped")
        begun = dataclasses.replace(last, phase="scoring", stored_parameters=merged.stored_parameters)
        return (yield from self._score(begun, merged, going))

    def make(self, recipe: Recipe, going: Going = lambda: True) -> Runs:
        """Merge unless the same merge is kept, and keep it without scoring it; one that is stopped is not kept."""
        last, started = Run(recipe, "merging"), time.perf_counter()
        with self.working():
            if self.merged(recipe) is None:
                merged, last = yield from self._merge(recipe, going)
                if merged is not None:
                    self.shelf.put(direction_key(recipe), merged, time.perf_counter() - started)
        return last

    def merged(self, recipe: Recipe) -> Merged | None:
        """Return the merge of a recipe, at its scaling, if it is still kept."""
        kept = self.shelf.get(direction_key(recipe))
        if isinstance(kept, StaticMerged) and can_rescale(recipe):
            return kept.rescaled(dict(recipe.parameters)["scaling"])
        return kept

    def keeps(self, recipe: Recipe) -> bool:
        """Return whether the merge of a recipe is in memory, at some scaling."""
        return direction_key(recipe) in self.shelf

    def history(self, recipe: Recipe) -> History | None:
        """Return how a recipe adapted: of the merge that is kept, else as it was recorded."""
        return history_of(self.merged(recipe)) or self.record.history(recipe)

    def energies(self, recipe: Recipe, going: Going = lambda: True) -> Energies | None:
        """Return the energies of a kept Twin merge, measured once; None when it is no such merge, or stopped."""
        key, merged = direction_key(recipe), self.merged(recipe)
        if key in self._energies or not is_twin(merged):
            return self._energies.get(key)
        steps = energy_steps(load_suite(recipe.suite).problem(recipe.experts), merged)
        try:
            while going():
                next(steps)
        except StopIteration as end:
            self._energies[key] = end.value
            while len(self._energies) > ENERGIES:
                self._energies.popitem(last=False)
        return self._energies.get(key)

    def cost(self, recipe: Recipe) -> Seconds:
        """Return what pressing Merge takes."""
        return self.costs.seconds(recipe, kept=self.merged(recipe) is not None)

    def _merge(self, recipe: Recipe, going: Going) -> Generator[Run, None, tuple[Merged | None, Run]]:
        """Merge; returns the merge, None when stopped, and the last moment shown.

        A method that adapts is watched: when stopped, the last moment holds the accuracy it had reached.
        """
        method, post = recipe.build()
        suite = load_suite(recipe.suite)
        problem = problem_of(suite, recipe)
        steps = merge_steps(problem, method, post, Context(suite.device, recipe.seed, self.svd))
        watch = Watch(suite, own_tasks(suite, recipe), dtype=live_dtype())
        steps, started = watch.steps(steps), time.perf_counter()
        countdown, run = Countdown(self.costs.seconds(recipe).merge), Run(recipe, "merging")
        yield run
        try:
            while going():
                step = next(steps)
                self.record.follow(recipe, step.history)
                run = Run(
                    recipe, "merging", step, scores=watch.scores, curve=tuple(watch.points),
                    merge_seconds=time.perf_counter() - started, left=countdown.left(step.done, step.total),
                )  # fmt: skip
                yield run
        except StopIteration as end:
            return end.value, run
        finally:
            steps.close()
        return None, run

    def _score(self, begun: Run, merged: Merged, going: Going) -> Runs:
        suite, run, started = load_suite(begun.recipe.suite), begun, time.perf_counter()
        own = own_tasks(suite, begun.recipe)
        others = [task for task in suite.unseen if merged.serves(task)]
        yield run
        steps = score_steps(suite, merged, dict.fromkeys((*own, *others)), first=FIRST, dtype=live_dtype())
        try:
            for scores in steps:
                run = dataclasses.replace(begun, scores=scores, score_seconds=time.perf_counter() - started)
                yield self.record.keep(run)
                if not going():
                    return self.record.keep(dataclasses.replace(run, phase="stopped"))
        finally:
            steps.close()
            self.record.keep(dataclasses.replace(run, phase="stopped"))
        run = self.record.keep(dataclasses.replace(run, phase="done"))
        self.costs.note(
            run.recipe, run.merge_seconds if run.merged_now else None, run.score_seconds,
            sum(score.n for score in run.scores.values()),
        )  # fmt: skip
        self.record.save(run, own, history_of(merged))
        return run


def can_rescale(recipe: Recipe) -> bool:
    """True when moving the scaling coefficient needs no new merge."""
    return not recipe.post and "scaling" in dict(recipe.parameters)


def direction_key(recipe: Recipe) -> str:
    """Return the digest of everything but the scaling coefficient, where the engine can apply it afterwards."""
    if not can_rescale(recipe):
        return recipe.digest
    published = declared(method_class(recipe.method))["scaling"].default
    return dataclasses.replace(recipe, parameters={**dict(recipe.parameters), "scaling": published}).digest


def paced(runs: Runs, pause: float = PAUSE, clock: Callable[[], float] = time.perf_counter) -> Runs:
    """Yield at most one run per `pause` seconds, and always the first of a phase and the last."""
    last, phase = clock() - pause, ""
    try:
        while True:
            run = next(runs)
            if run.phase != phase or clock() - last >= pause:
                last, phase = clock(), run.phase
                yield run
    except StopIteration as end:
        yield end.value
        return end.value
    finally:
        runs.close()
