"""The results table of a suite: every method at its published default and at the setting chosen on validation.

A row is stored as soon as it is measured, so an interrupted run goes on where it stopped; a finished run starts
anew the next time. Every row is measured on the score half: the tasks of the experts and, where the merge serves
them, the unseen tasks too. Methods that adapt are measured at their cpu preset, once adapted to the other
half (inductive) and once to the score half itself (transductive).
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..adapting.live import PICTURES
from ..contract import Context, Step
from ..errors import MergeError, RecipeError
from ..methods import build, registry
from ..suite import Suite
from .baselines import Baselines
from .content import suite_digest
from .recipe import KEYS, Recipe
from .results import Result, Results, averages, cached_folder, read_json, write_json
from .run import (
    Protocol,
    baseline_pairs,
    beside_baselines,
    describe,
    history_of,
    own_tasks,
    routes,
    run_steps,
    scored_tasks,
    scoring,
    warm,
)  # fmt: skip
from .tuning import Merges, choose_steps

VALIDATION_PICTURES = 100
POST_BASES = ("task_arithmetic", "tsv_m")  # one sum and one spectral merge
DEFAULT, CHOSEN, CPU, TRANSDUCTIVE = "default", "validation", "cpu", "transductive"
SHOWN = (CHOSEN, CPU, DEFAULT, TRANSDUCTIVE)  # the first that was measured stands for a line
Row = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """A line of the table: a method, and perhaps a post-step after it."""

    method: str
    post: str = ""

    @property
    def name(self) -> str:
        return f"{self.method}+{self.post}" if self.post else self.method

    @property
    def settings(self) -> tuple[str, ...]:
        """Return the settings that get a row: the cpu preset where the published course is too long."""
        cls = registry()[self.method]
        inductive = (CPU,) if CPU in cls.presets else (DEFAULT, CHOSEN)
        return (*inductive, TRANSDUCTIVE) if self.adapts else inductive

    @property
    def adapts(self) -> bool:
        """True where the method adapts to unlabelled inputs of the test split."""
        return "stream" in registry()[self.method].needs and not self.post

    def recipe(self, suite: Suite, preset: str = "published") -> Recipe:
        """Return the line's recipe at a preset, with as many experts as the method takes."""
        cls = registry()[self.method]
        post = ((self.post, ()),) if self.post else ()
        experts = suite.experts[: cls.experts_allowed[1]]
        return Recipe(suite.name, experts, self.method, tuple(cls.preset(preset).items()), post)

    def about(self) -> Row:
        """Return what the declarations say about the line."""
        steps = [registry()[key] for key in (self.method, self.post) if key]
        return {
            "name": self.name,
            "title": " + ".join(cls.title for cls in steps),
            "family": steps[-1].family,
            "kind": steps[0].kind,
            "needs": sorted({need for cls in steps for need in cls.needs}),
        }


def entries(methods: Iterable[str] | None = None) -> list[Entry]:
    """Return the lines of the table: all methods, then every post-step after some of them; or those named."""
    keys = [key for key, cls in registry().items() if cls.kind != "post"]
    steps = [key for key, cls in registry().items() if cls.kind == "post"]
    after = [Entry(base, step) for base in POST_BASES if base in keys for step in steps]
    every = [*map(Entry, keys), *after]
    if methods is None:
        return every
    chosen = set(methods)
    for key in sorted(chosen - {e.name for e in every}):
        build(key)
    return [e for e in every if chosen & {e.name, e.post}]


@dataclass
class TableRun:
    """One run of the table, with what was measured so far.

    `before` are rows of a table by line and setting: what they chose on validation is taken, not chosen again.
    """

    suite: Suite
    limit: int | None = None
    validation: int = VALIDATION_PICTURES
    before: Mapping[str, Mapping[str, Row]] = field(default_factory=dict)
    merges: Merges = field(init=False)
    stored: dict[str, Row | None] = field(init=False)

    def __post_init__(self) -> None:
        if len(self.suite.experts) < 2:
            raise RecipeError(f"The table needs at least two experts; {self.suite.name} has {len(self.suite.experts)}.")
        for name in ("limit", "validation"):
            Protocol(limit=getattr(self, name))
        self.merges = Merges(self.suite, Context(self.suite.device))
        self.stored = self._choices() | (read_json(self.file) or {})

    @property
    def file(self) -> Path:
        """Where rows are kept until the table is complete."""
        content = suite_digest(self.suite, self.suite.experts, "score")
        return cached_folder(self.suite.name) / f"table-{content[:16]}-{self.limit or 'all'}-{self.validation}.json"

    def steps(self, lines: Sequence[Entry]) -> Generator[Step, None, list[Row]]:
        """Measure the rows of all lines, yielding Steps; a row that is stored is not measured again."""
        plan = [(line, setting) for line in lines for setting in line.settings]
        for done, (line, setting) in enumerate(plan, 1):
            key = f"{line.name}/{setting}"
            if key not in self.stored:
                try:
                    self.stored[key] = yield from self._measured(line, setting)
                except MergeError as error:
                    self.stored[key] = self._refused(line, setting, str(error))
                write_json(self.file, self.stored, quiet=True)
            yield Step(done, len(plan), f"row {key}", _headline(self.stored[key]))
        rows = [self.stored[f"{line.name}/{setting}"] for line, setting in plan]
        return [row for row in rows if row is not None]

    def forget(self) -> None:
        """Drop the stored rows, so that the next run measures again."""
        self.file.unlink(missing_ok=True)
        self.stored = self._choices()

    def _choices(self) -> dict[str, Row | None]:
        return {f"{name}/choice": _choice(rows) for name, rows in self.before.items()}

    def _measured(self, line: Entry, setting: str) -> Generator[Step, None, Row | None]:
        if setting != CHOSEN and (setting != DEFAULT or line.adapts):
            return (yield from self._preset(line, setting))
        recipe, tried, words = line.recipe(self.suite), 1, "the published defaults"
        if setting == CHOSEN:
            recipe, tried = yield from self._chosen(line)
            words = f"chosen among {tried} settings on {self.validation} validation pictures per task"
            if tried == 1:
                return None
            same = self.stored.get(f"{line.name}/{DEFAULT}") or {}
            if same.get("recipe") == recipe.digest:
                sentence = same["protocol"].partition("Parameters: ")[0] + f"Parameters: {words}."
                return {**same, "setting": setting, "tried": tried, "protocol": sentence}
        result = yield from self._scored(recipe, words)
        return {**line.about(), "setting": setting, "tried": tried, **result.to_dict()}

    def _preset(self, line: Entry, setting: str) -> Generator[Step, None, Row]:
        """Measure the preset, watched while it adapts; transductive where the method sees the score half."""
        suite, half = self.suite, "score" if setting == TRANSDUCTIVE else "adapt"
        protocol = Protocol("score", self.limit, tuple(suite.tasks), half, watch=PICTURES)
        known = CPU in registry()[line.method].presets
        preset, words = (CPU, "the cpu preset") if known else ("published", "the published defaults")
        run = yield from run_steps(suite, line.recipe(suite, preset), protocol, chosen=words)
        Results(suite.name).save_history(run.result, history_of(run.merged))
        Results(suite.name).save_answers(run.result, run.scores)
        return {**line.about(), "setting": setting, "tried": 1, **run.result.to_dict()}

    def _chosen(self, line: Entry) -> Generator[Step, None, tuple[Recipe, int]]:
        """Return the recipe chosen on validation; a post-step follows its method's own choice."""
        start = line.recipe(self.suite)
        if line.post:
            base, _ = yield from self._chosen(Entry(line.method))
            start = Recipe(start.suite, start.experts, line.method, base.parameters, start.post)
        stored = self.stored.get(f"{line.name}/choice")
        if stored is None:
            choice = yield from choose_steps(self.merges, start, Protocol("validation", self.validation))
            stored = {"recipe": choice.recipe.to_dict(), "tried": choice.tried}
            self.stored[f"{line.name}/choice"] = stored
        return Recipe.from_dict(stored["recipe"]), stored["tried"]

    def _scored(self, recipe: Recipe, words: str) -> Generator[Step, None, Result]:
        suite, protocol = self.suite, Protocol("score", self.limit, tuple(self.suite.tasks))
        merged, seconds = yield from self.merges.steps(recipe)
        tasks = scored_tasks(suite, recipe, merged, protocol)
        fixed = yield from Baselines(suite).steps(baseline_pairs(suite, recipe, tasks), self.limit)
        warm(suite, tasks, protocol.split)
        start = time.perf_counter()
        scores = yield from scoring(suite, merged, tasks, protocol)
        taken = {"merge": seconds, "score": time.perf_counter() - start}
        accuracy = beside_baselines(suite, recipe, scores, fixed)
        method, post = recipe.build()
        sentence = protocol.sentence([a.n for a in accuracy.values()], (method, *post), words, bool(routes(scores)))
        content = suite_digest(suite, recipe.experts, "score")
        result = describe(
            recipe, merged, taken, sentence, content, accuracy=accuracy, routed=routes(scores),
            own=own_tasks(suite, recipe), unseen=suite.unseen, protocol=protocol,
        )  # fmt: skip
        Results(suite.name).save_answers(result, scores)
        return result

    def _refused(self, line: Entry, setting: str, reason: str) -> Row:
        recipe = line.recipe(self.suite)
        blank = Result(
            self.suite.name, recipe.method, dict(recipe.parameters), recipe.experts, "Not measured.", {},
            **averages({}, ()), stored_parameters=0.0, seconds={"merge": 0.0, "score": 0.0}, warnings=(reason,),
            post=tuple(recipe.to_dict()["post"]), recipe=recipe.digest,
        )  # fmt: skip
        return {**line.about(), "setting": setting, "tried": 0, **blank.to_dict()}


def reference_steps(suite: Suite, limit: int | None = None) -> Generator[Step, None, dict[str, Any]]:
    """Return what the table is read against: the pretrained model and every expert on every task, in percent."""
    baselines, models = Baselines(suite), (None, *suite.experts)
    found = yield from baselines.steps([(m, t) for m in models for t in suite.tasks], limit)
    matrix = {m or "pretrained": {t: round(found[m, t].accuracy(limit), 2) for t in suite.tasks} for m in models}
    own = {task: matrix[expert][task] for expert, task in suite.task_of.items() if expert in suite.experts}
    unseen = [matrix["pretrained"][t] for t in suite.unseen]
    return {
        "pretrained": round(sum(matrix["pretrained"][t] for t in own) / len(own), 2),
        "experts": round(sum(own.values()) / len(own), 2),
        "unseen_pretrained": round(sum(unseen) / len(unseen), 2) if unseen else None,
        "matrix": matrix,
        "entries": baselines.entries(),
    }


def by_line(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Row]]:
    """Return the rows of every line by its name, in the table's order, and by their settings."""
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        found.setdefault(row["name"], {})[row["setting"]] = dict(row)
    return found


def shown_row(line: Mapping[str, Row]) -> Row:
    """Return the row that stands for a line: at the setting chosen on validation, else at the one it has."""
    return next(line[setting] for setting in SHOWN if setting in line)


def recipe_of(row: Row) -> Recipe:
    """Return the recipe of a row; raises RecipeError where it cannot be merged any more."""
    return Recipe.from_dict({key: row[key] for key in KEYS})


def _choice(rows: Mapping[str, Row]) -> Row:
    """Return what the rows of a line have chosen on validation; the published defaults where there was no choice."""
    row = rows.get(CHOSEN) or next(iter(rows.values()))
    return {"recipe": recipe_of(row).to_dict(), "tried": row["tried"] if CHOSEN in rows else 1}


def _headline(row: Row | None) -> dict[str, float]:
    return {"average %": row["average"]} if row and row["average"] is not None else {}
