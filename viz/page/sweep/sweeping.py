"""What the tab of sweeps shows: menus, cost, and the curve or plane as it takes shape. Knows no Gradio."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Generator, Sequence
from html import escape
from typing import Any

import numpy as np

from merge_engine.contract import Context, Step
from merge_engine.errors import MergeError
from merge_engine.merged import Merged
from merge_engine.methods import method_class
from merge_engine.precision import live_dtype
from merge_engine.runs.grid import Values, sweepable
from merge_engine.runs.landmarks import PUBLISHED, landmarks
from merge_engine.runs.recipe import Recipe
from merge_engine.runs.run import own_tasks
from merge_engine.runs.sweep import Point, Stored, Sweep, SweepStep, best, sweep_steps
from merge_engine.runs.tuning import Merges
from merge_engine.suite import Suite, load_suite
from viz import swept
from viz.panel import draw
from viz.panels import sweep_curve, sweep_plane
from viz.swept import Swept

from .. import session as state
from ..colors import task_colors
from ..compare.beside import Beside, beside
from ..headline import duration
from ..session import Session
from ..view import Parts, complaint, menu, status
from ..workbench import Workbench, direction_key
from . import wish as wishes
from .sweep_acts import sweep_of, wish_of
from .sweep_cost import cost_line, cost_of

TURN = 15.0  # seconds of sweeping after which others who wait for the queue get a turn
PAUSE = 0.3  # seconds between two moments shown
ELSEWHERE = (
    "{} is no point of this sweep: it differs in more than the swept numbers. Its accuracy on test pictures says "
    "nothing about these, so no line stands for it."
)


class ShelvedMerges(Merges):
    """Merges that look on the page's shelf first, and can put there what they made."""

    def __init__(self, bench: Workbench, suite: Suite, recipe: Recipe) -> None:
        super().__init__(suite, Context(suite.device, recipe.seed, bench.svd), bench.merged)
        self.bench, self.latest = bench, recipe

    def steps(self, recipe: Recipe) -> Generator[Step, None, tuple[Merged, float]]:
        """Merge, and remember by which recipe."""
        found = yield from super().steps(recipe)
        self.latest = dataclasses.replace(recipe, post=())
        return found

    def shelve(self) -> None:
        """Keep the latest merge of experts where the page finds it."""
        if self._merged is not None:
            self.bench.shelf.put(direction_key(self.latest), self._merged, self._seconds)


def tab_parts(bench: Workbench, session: Session, shown: str = "") -> Parts:
    """Return the whole tab for a session and the run `shown` on the page, computing nothing."""
    parts: Parts = {"sweep_bar": bar(session)}
    try:
        sweep = sweep_of(session)
    except MergeError as error:
        blank = {name: draw(module, None) for name, module in PANELS.items()}
        return {**parts, **blank, "sweep_cost": "", "sweeping": complaint(str(error))}
    store = Stored(load_suite(session.suite), sweep, live_dtype())
    points = store.points(sweep)
    pinned = beside(bench.record, session, shown)
    return parts | panel_parts(session, sweep, points, pinned) | {
        "sweep_cost": cost_line(cost_of(bench, load_suite(session.suite), sweep, store)),
        "sweeping": finished(sweep, points) or status(""),
    }  # fmt: skip


def finished(sweep: Sweep, points: Sequence[Point] | None = None) -> str:
    """Return the status of a sweep whose points are all known, blank where some are not; stored points by default."""
    if points is None:
        points = Stored(load_suite(sweep.recipe.suite), sweep, live_dtype()).points(sweep)
    return status(done_words(sweep, points)) if len(points) == len(sweep.visits()) else ""


def panel_parts(session: Session, sweep: Sweep, points: Sequence[Point], pinned: Beside | None) -> Parts:
    """Return both panels, the one that does not fit the sweep empty; the pinned run is marked where it is a point."""
    suite = load_suite(session.suite)
    data, curve = data_of(suite, sweep, points), len(sweep.axes) == 1
    there = pinned and sweep.place_of(pinned.recipe)
    if pinned and there is not None:
        data = dataclasses.replace(data, marks={**data.marks, pinned.letter: there})
    why = ELSEWHERE.format(pinned.letter) if pinned and there is None else ""
    return {
        "sweep_curve": draw(sweep_curve, data if curve else None, colors=task_colors(suite), aside=why),
        "sweep_plane": draw(sweep_plane, None if curve else data, aside=why),
    }


PANELS = {"sweep_curve": sweep_curve, "sweep_plane": sweep_plane}


def data_of(suite: Suite, sweep: Sweep, points: Sequence[Point]) -> Swept:
    """Return the points of a sweep on their grid, for the panels."""
    tasks = own_tasks(suite, sweep.recipe)
    shape = tuple(len(axis.values) for axis in sweep.axes)
    accuracy, lost = (np.full((*shape, len(tasks)), np.nan) for _ in range(2))
    alone = np.full(len(tasks), np.nan)
    low, high, normalised = (np.full(shape, np.nan) for _ in range(3))
    for point in points:
        if point.scores:
            place = tuple(axis.values.index(value) for axis, value in zip(sweep.axes, point.values, strict=True))
            accuracy[place] = [point.scores[task].accuracy for task in tasks]
            lost[place] = [point.lost[task] for task in tasks]
            alone[:] = [point.alone[task] for task in tasks]
            (low[place], high[place]), normalised[place] = point.interval, point.normalised
    return Swept(
        tuple(axis.word for axis in sweep.axes), tuple(np.array(axis.values, float) for axis in sweep.axes), tasks,
        accuracy, low, high, normalised, alone, lost, landmarks(suite, sweep), tuple(axis.wide for axis in sweep.axes),
        sweep.pictures or 0, sweep.chooses,
    )  # fmt: skip


def bar(session: Session) -> str:
    """Return the menus of the sweep: its numbers, their values, the pictures it is scored on."""
    try:
        recipe = state.recipe(session)
        wish = wish_of(session)
    except MergeError:
        return '<p class="mp-notice">Complete the recipe on the first tab; then its numbers can be swept.</p>'
    numbers = {word: f"{_owner(owner, position)}{swept.words(hp.name)}"
               for word, (position, owner, hp) in sweepable(recipe).items()}  # fmt: skip
    title = " + ".join(method_class(key).title for key in (recipe.method, *(key for key, _ in recipe.post)))
    if not numbers:
        return f'<p class="mp-notice">{escape(title)} has no number that could be swept; choose another method.</p>'
    drawn = f"{wish}"
    second = {"": "nothing else", **{w: text for w, text in numbers.items() if w != wish.first}}
    pictures = {str(n): f"{n} pictures per task" for n in wishes.PICTURES}
    first = f"{menu('over', 'First number', numbers, wish.first, drawn)}{_box(session, wish.first)}"
    other = f"{menu('against', 'Second number', second, wish.second, drawn)}{_box(session, wish.second)}"
    return (
        f'<div class="mp-sweep"><span class="mp-axis">Sweep <b>{escape(title)}</b> over {first}</span>'
        f'<span class="mp-axis">and {other}</span>'
        f'<span class="mp-axis">on {menu("pictures", "Pictures", pictures, str(wish.pictures), drawn)} of '
        f'{menu("split", "Which pictures", wishes.SPLITS, wish.split, drawn)}</span></div>'
    )


def _owner(owner: str, position: int) -> str:
    return f"{method_class(owner).title}: " if position else ""


def _box(session: Session, word: str) -> str:
    """Return the box for the values of one number; blank, the engine chooses them."""
    if not word:
        return ""
    typed = dict(session.sweep.typed).get(word, "")
    return (
        f'<input type="text" class="mp-box mp-values" data-emit="values" data-name="{escape(word, quote=True)}" '
        f'value="{escape(typed, quote=True)}" placeholder="usual values" maxlength="{wishes.LENGTH}" '
        f'aria-label="Values of {escape(swept.words(word), quote=True)}" '
        'title="LOW:HIGH:POINTS, or values separated by commas; blank: the usual ones">'
    )


def sweep_parts(
    bench: Workbench, session: Session, sweep: Sweep, going: Callable[[], bool], turn: float = TURN,
    shown: str = "",
) -> Generator[Parts, None, bool]:  # fmt: skip
    """Sweep, yielding parts; returns whether points are left because others should have a turn."""
    suite, started = load_suite(session.suite), time.perf_counter()
    pinned = beside(bench.record, session, shown)
    merges = ShelvedMerges(bench, suite, sweep.recipe)
    steps, moments, top = sweep_steps(sweep, merges, live_dtype()), _Shown(session, sweep, pinned), None
    with bench.working():
        try:
            while going():
                step = next(steps)
                yield from moments.moment(step)
                newest = step.points[-1] if step.points else None
                if moments.fresh and newest is not None and newest.scores:
                    pictures = sum(score.n for score in newest.scores.values())
                    bench.costs.note(sweep.at(newest.values), None, newest.seconds["score"], pictures)
                    over = step.done < step.total and time.perf_counter() - started > turn
                    leading = best(step.points)
                    if over or (leading is newest and leading is not top):
                        merges.shelve()
                    top = leading
                    if over:
                        return True
        except StopIteration as end:
            yield panel_parts(session, sweep, end.value, pinned) | {"sweeping": status(done_words(sweep, end.value))}
            return False
        finally:
            steps.close()
    yield {"sweeping": stopped(sweep, moments.points)}
    return False


class _Shown:
    """What the page shows of a sweep under way: figures after every point, words now and then."""

    def __init__(self, session: Session, sweep: Sweep, pinned: Beside | None) -> None:
        self.session, self.sweep, self.pinned = session, sweep, pinned
        self.points: tuple[Point, ...] = ()
        self.first, self.fresh, self.last = True, False, 0.0

    def moment(self, step: SweepStep) -> Generator[Parts, None, None]:
        """Yield the parts of a step, nothing while the last ones are too fresh."""
        self.fresh = len(step.points) > len(self.points) and not self.first
        now = time.perf_counter()
        if not (self.first or self.fresh) and now - self.last < PAUSE:
            return
        redrawn = self.first or self.fresh
        figures = panel_parts(self.session, self.sweep, step.points, self.pinned) if redrawn else {}
        self.first, self.points, self.last = False, step.points, now
        yield figures | {"sweeping": progress(step)}


def progress(step: SweepStep) -> str:
    """Return the status line of a sweep under way."""
    left = "" if step.left is None or not step.left else f", about {duration(step.left)} left"
    return status(
        f"{step.done} of {step.total} points{left}. {step.label}".strip(), done=step.done, total=step.total, tone="busy"
    )


def stopped(sweep: Sweep, points: Sequence[Point]) -> str:
    """Return the status line of a sweep that was stopped."""
    words = f"Stopped; {len(points)} of {len(sweep.visits())} points are kept. Start goes on from there."
    return status(words, tone="stale")


def taken(sweep: Sweep, values: Values) -> str:
    """Return the status line after a point's values were taken into the recipe."""
    return status(f"Taken into the recipe: {sweep.words(values)}. Press Merge on the first tab for the test score.")


def done_words(sweep: Sweep, points: Sequence[Point]) -> str:
    """Return what a finished sweep found, in words."""
    faults = [point for point in points if point.fault]
    beside = f" {len(faults)} could not be merged: {faults[0].fault}" if faults else ""
    top = best(points)
    if top is None or not sweep.chooses:
        return f"{len(points)} points on test pictures, to look at only.{beside}" if top else beside.strip()
    published = landmarks(load_suite(sweep.recipe.suite), sweep).get(PUBLISHED)
    default = next((point for point in points if point.values == published and point.scores), None)
    than = "" if default is None else f", at the published default {default.average:.1f} %"
    found = f"{sweep.words(top.values)} with {top.average:.1f} %{than}"
    return f"Best of {len(points)} points on validation: {found}.{beside}"


def clicked(sweep: Sweep, where: Any) -> Values | None:
    """Return the values of the point that was clicked: by its number on the curve, by its labels on the plane."""
    if len(sweep.axes) == 1:
        values = sweep.axes[0].values
        return (values[where.id],) if where.id is not None and where.id < len(values) else None
    labels = (where.x, where.y)
    found = [
        next((value for value in axis.values if swept.label(value) == str(label)), None)
        for axis, label in zip(sweep.axes, labels, strict=True)
    ]
    known = tuple(value for value in found if value is not None)
    return known if len(known) == len(found) else None
