"""What is known about merges without computing: scores measured here, stored results, and baselines."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

from merge_engine.adapting.history import History
from merge_engine.adapting.live import Point
from merge_engine.contract import Step
from merge_engine.evaluate import Score
from merge_engine.precision import live_dtype, name_of
from merge_engine.runs.baselines import Baseline, Baselines
from merge_engine.runs.content import suite_digest
from merge_engine.runs.kept_answers import KeptAnswers, KeptTask
from merge_engine.runs.protocol import Protocol
from merge_engine.runs.recipe import Recipe
from merge_engine.runs.results import Result, Results, TaskAccuracy, averages
from merge_engine.runs.run import adapts, routes
from merge_engine.suite import Suite, load_suite

Phase = Literal["merging", "scoring", "done", "stopped"]
Pairs = Mapping[str, tuple[Baseline | None, Baseline | None]]
LIMIT, HISTORIES = 256, 8
INPUTS = 24  # runs whose single inputs are remembered; of a routed merge of the bundled suite they take 2 MB each


@dataclass(frozen=True)
class Run:
    """One moment of a merge on the page: how far it is and what it scored so far.

    While a method adapts, `curve` grows and `scores` are those of its latest watched snapshot. `precision` is what
    single inputs were scored in, empty where nothing is known about them.
    """

    recipe: Recipe
    phase: Phase
    step: Step = field(default_factory=lambda: Step(0, 0))
    scores: Mapping[str, Score] = field(default_factory=dict)
    merge_seconds: float = 0.0
    score_seconds: float = 0.0
    stored_parameters: float = float("nan")
    notes: tuple[str, ...] = ()
    forwards: float = 1.0
    curve: tuple[Point, ...] = ()
    merged_now: bool = True
    stored: bool = False
    precision: str = field(default_factory=lambda: name_of(live_dtype()))

    @property
    def partial(self) -> bool:
        """True while some score is an estimate from a part of the pictures."""
        return self.phase != "done"


class Record:
    """Runs of this process, and the stored results and baselines of every suite."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, Run] = OrderedDict()
        self._keeping = threading.Lock()
        self._baselines: dict[str, Baselines] = {}
        self._followed: OrderedDict[str, tuple[Recipe, History]] = OrderedDict()

    def keep(self, run: Run) -> Run:
        """Remember a run that scored something; a finished one is never replaced by a partial one."""
        with self._keeping:
            known = self._runs.get(run.recipe.digest)
            if run.scores and not (run.partial and known and not known.partial):
                self._runs[run.recipe.digest] = run
                self._runs.move_to_end(run.recipe.digest)
                while len(self._runs) > LIMIT:
                    self._runs.popitem(last=False)
                self._forget_inputs()
        return run

    def _forget_inputs(self) -> None:
        """Let go of what the older runs said about single inputs."""
        knowing = [r for r in self._runs.values() if any(s.answers for s in r.scores.values())]
        for run in knowing[:-INPUTS]:
            self._runs[run.recipe.digest] = without_inputs(run)

    def known(self, recipe: Recipe) -> Run | None:
        """Return what a recipe scored, here or in the stored results, or None."""
        if (run := self._runs.get(recipe.digest)) is not None:
            return run
        found = Results(recipe.suite).find(recipe, _content(recipe.suite, recipe.experts))
        if found is None:
            return None
        kept = Results(recipe.suite).answers(found, load_suite(recipe.suite))
        return self.keep(stored_run(recipe, found, kept))

    def shown(self, digest: str) -> Run | None:
        """Return the run of a recipe that is on a page, by its digest."""
        return self._runs.get(digest)

    def recent(self, suite: str) -> list[Run]:
        """Return the runs of a suite that are remembered, the latest last."""
        return [run for run in list(self._runs.values()) if run.recipe.suite == suite]

    def recipe_of(self, digest: str) -> Recipe | None:
        """Return the recipe of a run that is on a page or under way, by its digest."""
        run, followed = self._runs.get(digest), self._followed.get(digest)
        return run.recipe if run else followed[0] if followed else None

    def follow(self, recipe: Recipe, history: History | None) -> None:
        """Remember how a recipe adapts; the history may still grow."""
        if history is not None:
            self._followed[recipe.digest] = recipe, history
            self._followed.move_to_end(recipe.digest)
            while len(self._followed) > HISTORIES:
                self._followed.popitem(last=False)

    def history(self, recipe: Recipe) -> History | None:
        """Return how a recipe adapted, here or in a stored trajectory; None where that is not known."""
        if recipe.digest not in self._followed:
            self.follow(recipe, Results(recipe.suite).history(recipe, _content(recipe.suite, recipe.experts)))
        return self._followed[recipe.digest][1] if recipe.digest in self._followed else None

    def varied(self, recipe: Recipe, name: str) -> list[Result]:
        """Return the stored results of a recipe at every measured value of one hyper-parameter, ascending."""
        return Results(recipe.suite).varied(recipe, _content(recipe.suite, recipe.experts), name)

    def average(self, suite: str, experts: Sequence[str]) -> Run | None:
        """Return what the weight average of the same experts scored on all pictures, if it is known."""
        known = self.known(average_of(suite, experts))
        return None if known is None or known.partial else known

    def save(self, run: Run, own: Sequence[str], history: History | None = None) -> None:
        """Put a finished run and its history among the stored results, where the command line finds them too."""
        suite, baselines = load_suite(run.recipe.suite), self.baselines(run.recipe.suite)
        if run.partial or any(baselines[task][0] is None for task in run.scores):
            return
        accuracy = {t: _beside(score, *baselines[t]) for t, score in run.scores.items()}
        plain, (method, post), routed = run.recipe.to_dict(), run.recipe.build(), routes(run.scores)
        chosen = f"as set on the page, scored in {run.precision}"
        words = Protocol().sentence([a.n for a in accuracy.values()], (method, *post), chosen, bool(routed))
        Results(suite.name).save(
            Result(
                **{key: plain[key] for key in ("suite", "method", "parameters", "seed")},
                experts=run.recipe.experts, post=tuple(plain["post"]), accuracy=accuracy, protocol=words,
                **averages(accuracy, tuple(own), suite.unseen), stored_parameters=run.stored_parameters,
                seconds={"merge": run.merge_seconds, "score": run.score_seconds}, warnings=run.notes,
                forwards=run.forwards, routed=routed, curve=tuple(p.to_dict() for p in run.curve),
                half="adapt" if adapts(run.recipe) else "",
                recipe=run.recipe.digest, split="score", content=_content(suite.name, run.recipe.experts),
            ),
            history, run.scores, run.precision,
        )  # fmt: skip

    def baselines(self, suite: str) -> Pairs:
        """Return what is known of (pretrained model, own expert) on every task, computing nothing."""
        store, loaded = self._store(suite), load_suite(suite)
        own = {task: expert for expert, task in loaded.task_of.items() if expert in loaded.experts}
        return {
            task: (store.find((None, task)), store.find((own[task], task)) if task in own else None)
            for task in loaded.tasks
        }

    def baseline_steps(self, suite: str, limit: int | None, going: Callable[[], bool]) -> Iterator[Step]:
        """Compute missing baselines on `limit` pictures of every task, yielding a Step after each."""
        loaded = load_suite(suite)
        pairs = [(None, task) for task in loaded.tasks]
        pairs += [(expert, loaded.task_of[expert]) for expert in loaded.experts]
        steps = self._store(suite).steps(pairs, limit)
        with contextlib.suppress(StopIteration):
            while going():
                yield next(steps)

    def _store(self, suite: str) -> Baselines:
        if suite not in self._baselines:
            self._baselines[suite] = Baselines(load_suite(suite))
        return self._baselines[suite]


def average_of(suite: str, experts: Sequence[str]) -> Recipe:
    """Return the recipe of the plain average, which every result is compared with."""
    return Recipe(suite, tuple(experts), "average")


def without_inputs(run: Run) -> Run:
    """Return a run that does not know what was said about single inputs."""
    return replace(run, scores={task: replace(score, answers=None) for task, score in run.scores.items()})


def stored_run(recipe: Recipe, found: Result, kept: KeptAnswers | None = None) -> Run:
    """Return a stored result as a finished run, with what it said about single inputs where that was kept."""
    said = kept.tasks if kept else {}
    scores = {t: _stored_score(t, found, said.get(t)) for t in found.accuracy}
    return Run(
        recipe, "done", scores=scores, merge_seconds=found.seconds.get("merge", 0.0), stored=True,
        score_seconds=found.seconds.get("score", 0.0), stored_parameters=found.stored_parameters, notes=found.warnings,
        forwards=found.forwards, curve=tuple(Point.from_dict(point) for point in found.curve),
        precision=kept.precision if kept else "",
    )  # fmt: skip


def _stored_score(task: str, found: Result, said: KeptTask | None) -> Score:
    n, nan = found.accuracy[task].n, float("nan")
    layers = said.by_layer if said else None
    return Score(task, found.correct[task], n, n, nan, nan, found.routed.get(task), layers, said)


@lru_cache(maxsize=8)
def model_size(suite: Suite) -> float:
    """Return the parameters of one model, from the headers of its files."""
    infos = (suite.pretrained.info(name) for name in suite.pretrained)  # type: ignore[attr-defined]
    return float(sum(_product(info.shape) for info in infos))


@lru_cache(maxsize=256)
def _content(suite: str, experts: tuple[str, ...]) -> str:
    """Return the content hash of a suite and some experts; files do not change while the page is up."""
    return suite_digest(load_suite(suite), experts, "score")


def _product(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _beside(score: Score, before: Baseline | None, alone: Baseline | None) -> TaskAccuracy:
    expert = alone.accuracy(score.n) if alone else None
    return TaskAccuracy(score.accuracy, expert, before.accuracy(score.n) if before else float("nan"), score.n)
