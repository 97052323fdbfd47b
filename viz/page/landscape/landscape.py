"""What the tab of landscapes shows, drawn while it is measured, coarse to fine. Knows no Gradio.

Everything long is a generator of parts that ends when its `going()` turns false; what was measured is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from types import ModuleType
from typing import Any

from merge_engine.contract import Step
from merge_engine.hp import declared
from merge_engine.landscape.disentanglement import DisentanglementSurvey
from merge_engine.landscape.lattice import SIDES, sides_to
from merge_engine.landscape.path import PathSurvey
from merge_engine.landscape.surface import PlaneSurvey
from merge_engine.methods import method_class
from merge_engine.precision import live_dtype
from merge_engine.runs.recipe import Recipe
from merge_engine.suite import Suite, load_suite
from viz import theme
from viz.panel import Drawing, draw
from viz.panels import disentanglement, loss_path, loss_plane

from ..headline import duration
from ..memory import give_back
from ..session import Session
from ..view import Parts, menu, run_status, status, task_colors
from ..workbench import Workbench, paced
from . import ground as grounds
from . import models
from .ground import Ground
from .placed import Placed, placed

PANELS: dict[str, ModuleType] = {"plane": loss_plane, "line": loss_path, "map": disentanglement}
WORDS = {"plane": "The plane", "line": "The line", "map": "Weight disentanglement"}
DETAILS = {6: "6 × 6, a quick look", 11: "11 × 11", 21: "21 × 21, as published"}
PAUSE = 0.8  # seconds between two drawings
NONE = "A landscape lies between experts; this suite has fewer than two."


@dataclass(frozen=True)
class Views:
    """The surveys of a session's choice, the merges of its visit, and the `names` of models by their words.

    `corners` are the recipes of the merges that a view goes through, by the name of the view.
    """

    ground: Ground
    names: Mapping[str, str]
    corners: Mapping[str, Sequence[Recipe]]
    plane: PlaneSurvey
    line: PathSurvey
    map: DisentanglementSurvey
    placed: Placed

    def missing(self, name: str, detail: int) -> int:
        """Return how many models a view still has to read for a detail."""
        merges = (self.placed.merges,) if name == "plane" else ()
        return getattr(self, name).missing(detail, *merges)

    def steps(self, name: str, detail: int) -> Generator[Step, None, Any]:
        """Read what a view misses."""
        merges = (self.placed.merges,) if name == "plane" else ()
        return getattr(self, name).steps(detail, *merges)

    def size(self, name: str) -> int:
        """Return the pictures that every model of a view is shown."""
        return getattr(self, name).probe.size

    @property
    def left(self) -> dict[str, int]:
        """Models still to be read by view."""
        return {name: self.missing(name, self.ground.detail) for name in PANELS}

    @property
    def unmerged(self) -> list[Recipe]:
        """The merges whose weights are needed."""
        needed = (recipe for name, left in self.left.items() if left for recipe in self.corners.get(name, ()))
        return list(dict.fromkeys(needed))

    @property
    def pictures(self) -> int:
        """Forward passes of one picture still to be made."""
        return sum(count * self.size(name) for name, count in self.left.items())


class Landscape:
    """The landscapes of one process: what is measured, and how fast."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self._paces: dict[str, float] = {}

    def views(self, session: Session) -> Views | None:
        """Return the surveys of a session; None where the suite has fewer than two experts."""
        suite = load_suite(session.suite)
        ground = grounds.settled(session.ground, suite, session.experts)
        if ground is None:
            return None
        visit, few, dtype = placed(self.bench, session.comparison, suite.name), ground.pictures, live_dtype()
        through = {"plane": ground.plane, "line": ground.line}
        names = models.offered(suite, session.experts, visit, [*ground.plane, *ground.line])
        found = {
            view: [models.corner(self.bench, suite, session.experts, word, names) for word in words]
            for view, words in through.items()
        }
        made = {
            view: [recipe for word in words if (recipe := grounds.recipe_of(word, suite, session.experts))]
            for view, words in through.items()
        }
        return Views(
            ground, names, made, PlaneSurvey(suite, found["plane"], few, dtype=dtype),
            PathSurvey(suite, found["line"], few, dtype=dtype),
            DisentanglementSurvey(suite, ground.pair, few, dtype=dtype),
            visit.without([recipe.digest for recipe in made["plane"]]),
        )  # fmt: skip

    def at_hand(self, session: Session, shown: str) -> Parts:
        """Return the whole tab as far as it is measured, computing nothing."""
        views = self.views(session)
        drawn = {name: draw(PANELS[name], None) if views is None else drawing(views, name, shown) for name in PANELS}
        return {"ground": self.menus(session, views), **drawn}

    def menus(self, session: Session, views: Views | None = None) -> str:
        """Return the menus that say what is measured, and what it costs."""
        suite, views = load_suite(session.suite), views or self.views(session)
        if views is None:
            return f'<p class="mp-notice">{NONE}</p>'
        experts, ground = {name: name for name in suite.experts}, views.ground
        plane, line = (_row(view, "Model", views.names, getattr(ground, view)) for view in ("plane", "line"))
        pictures = _menu("pictures", "Pictures per task", {str(n): str(n) for n in grounds.PICTURES}, ground.pictures)
        detail = _menu("detail", "Points", {str(side): DETAILS[side] for side in SIDES}, ground.detail)
        return (
            f'<div class="mp-ground"><span>Plane through {plane}</span><span>Line between {line}</span>'
            f"<span>Disentanglement of {_row('pair', 'Expert', experts, ground.pair)}</span>"
            f"<span>Pictures per task {pictures}</span><span>Points {detail}</span></div>{self.cost(views, suite)}"
        )

    def cost(self, views: Views, suite: Suite) -> str:
        """Return what Start will do and how long that takes, from what was measured here."""
        left, pictures = sum(views.left.values()), views.pictures
        if not left:
            return '<p class="mp-cost"><span>Everything chosen here is measured.</span></p>'
        pace = self._pace(suite)
        takes = "not timed yet" if pace is None else f"about {duration(pace * pictures)}"
        of = "validation pictures; nothing is tuned on them"
        return (
            f'<p class="mp-cost"><span>{left:,} model{"s" if left > 1 else ""} to build and score on {escape(of)}: '
            f"{pictures:,} forward passes, {takes}</span>{''.join(map(self._first, views.unmerged))}</p>"
        )

    def _first(self, recipe: Recipe) -> str:
        """Return that a merge has to be made first, and how long that takes; nothing for one that is kept."""
        if (seconds := self.bench.estimate(recipe)) == 0:
            return ""
        takes = f"about {duration(seconds)}" if seconds else "not timed yet"
        return f"<span>{escape(method_class(recipe.method).title)} is merged first: {takes}</span>"

    def stale(self, session: Session) -> str:
        """Return the status line after the choice changed."""
        views = self.views(session)
        if views is None or not any(views.left.values()):
            return status("")
        return status("The choice changed: press Start to measure what is missing.", tone="stale")

    def steps(self, session: Session, shown: str, going: Callable[[], bool]) -> Generator[Parts, None, bool]:
        """Measure what is missing, the coarse lattices of all views first; yields what is to be drawn.

        Returns whether everything was measured. Raises RecipeError where three models make no plane.
        """
        suite, views = load_suite(session.suite), self.views(session)
        if views is None:
            yield {"surveying": status(NONE, tone="bad")}
            return False
        for recipe in views.unmerged:
            for run in paced(self.bench.make(recipe, going)):
                yield {"surveying": run_status(run, None)}
            if not going():
                return False
        progress = Progress(views.pictures)
        yield {"surveying": status("Reading the models", total=max(progress.total, 1), tone="busy")}
        try:
            for detail in sides_to(views.ground.detail):
                for name in PANELS:
                    yield from _measured(views, name, detail, shown, going, progress)
                    if not going():
                        return False
        finally:
            self._paces |= {} if progress.pace is None else {suite.name: progress.pace}
            give_back()
        words = f"Done in {duration(progress.seconds)}." if progress.total else "Everything was measured already."
        yield {"surveying": status(words), "ground": self.menus(session, views)}
        return True

    def _pace(self, suite: Suite) -> float | None:
        """Return seconds per picture: of the last landscape, else of the last scoring of a merge measured here."""
        if suite.name in self._paces:
            return self._paces[suite.name]
        timed = [run for run in self.bench.record.recent(suite.name) if run.score_seconds and not run.stored]
        pictures = sum(score.n for score in timed[-1].scores.values()) if timed else 0
        return timed[-1].score_seconds / pictures if pictures else None


class Progress:
    """How far a measuring is, in forward passes of one picture; its first model is not timed, since it opens files."""

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0
        self._started = self._since = time.perf_counter()
        self._untimed = 0

    def add(self, pictures: int) -> None:
        """Count the pictures of one more model."""
        if not self.done:
            self._since, self._untimed = time.perf_counter(), pictures
        self.done += pictures

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._started

    @property
    def pace(self) -> float | None:
        """Seconds per picture; None before two models."""
        timed = self.done - self._untimed
        return (time.perf_counter() - self._since) / timed if timed else None

    def said(self, name: str) -> str:
        """Return the status line while a view is measured."""
        pace = self.pace
        left = "" if pace is None else f": about {duration(pace * (self.total - self.done))} left"
        return status(f"{WORDS[name]}{left}", done=self.done, total=max(self.total, 1), tone="busy")


def _measured(
    views: Views, name: str, detail: int, shown: str, going: Callable[[], bool], progress: Progress
) -> Generator[Parts, None, None]:
    """Measure one view to a detail, yielding drawings at most every so often."""
    steps, last, changed = views.steps(name, detail), time.perf_counter(), False
    try:
        while going():
            next(steps)
            progress.add(views.size(name))
            changed = True
            if time.perf_counter() - last >= PAUSE:
                last = time.perf_counter()
                yield {name: drawing(views, name, shown), "surveying": progress.said(name)}
    except StopIteration:
        if changed:
            yield {name: drawing(views, name, shown), "surveying": progress.said(name)}
    finally:
        steps.close()


def drawing(views: Views, name: str, shown: str) -> Drawing:
    """Return the panel of a view as far as it is measured."""
    suite = views.plane.suite
    if name == "plane":
        found = views.plane.surface(views.placed.names)
        left = views.placed.sentence({marker.key for marker in found.markers}.__contains__) if found else ""
        return draw(loss_plane, found, shown=shown, left=left, colors=theme.colors(suite.task_of))
    if name == "line":
        return draw(loss_path, views.line.path(), colors=task_colors(suite))
    usual = declared(method_class("task_arithmetic"))["scaling"].default
    return draw(disentanglement, views.map.map(), usual=usual)


def _row(view: str, what: str, names: Mapping[str, str], words: Sequence[str]) -> str:
    """Return the menus of the models of a view."""
    return "".join(_menu(f"{view}.{i}", f"{what} {i + 1} of the {view}", names, w) for i, w in enumerate(words))


def _menu(slot: str, label: str, words: Mapping[str, str], chosen: Any) -> str:
    return menu(f"{grounds.PREFIX}{slot}", label, words, str(chosen), chosen)
