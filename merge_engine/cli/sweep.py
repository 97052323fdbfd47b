"""`sweep`: accuracy over one or two hyper-parameters, on validation pictures, where choosing is fair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from ..contract import Context
from ..devices import chosen_device
from ..runs.grid import Values
from ..runs.landmarks import landmarks
from ..runs.sweep import PICTURES, Point, Sweep, best, sweep_steps
from ..runs.tuning import Merges
from ..suite import load_suite
from . import options
from .merge import checked, wanted_recipe
from .output import Cell, check_target, emit, followed, print_table

OVER = "A number: NAME, NAME=LOW:HIGH:POINTS or NAME=A,B,C; KEY.NAME for one of a post-step. Give two for a plane."
FAIR = "on validation, where choosing is fair"
LOOK = "on the score half of the test split: to look at only, never to choose by"


def sweep(
    over: Annotated[list[str], typer.Option("--over", metavar="NAME[=…]", help=OVER)],
    method: Annotated[str, typer.Option("--method", help="Key of the merge method; see `methods`.")],
    suite: options.SuiteName = None,
    experts: options.Experts = None,
    given: options.Settings = None,
    post: Annotated[list[str] | None, typer.Option("--post", help="Key of a post-step; repeat for several.")] = None,
    preset: Annotated[str | None, typer.Option("--preset", help="Named parameters, such as cpu; --set wins.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of random methods.")] = 0,
    split: Annotated[str, typer.Option("--split", help="validation, or score to look only.")] = "validation",
    limit: Annotated[int, typer.Option("--limit", help="Pictures per task.")] = PICTURES,
    device: options.Device = None,
    json_to: options.Json = None,
) -> None:
    """Score a merge at every point of a curve or a plane; points that were scored before are read."""
    check_target(json_to)
    chosen = load_suite(suite or options.DEFAULT_SUITE).on(chosen_device(device))
    wanted = wanted_recipe(None, {"method": method, "seed": seed}, given, post, preset)
    names = options.experts_of(chosen, options.names(experts))
    wanted_sweep = Sweep.of(checked({**wanted, "suite": chosen.name, "experts": names}), over, split, limit)
    merges = Merges(chosen, Context(chosen.device, seed))
    points = sorted(followed(sweep_steps(wanted_sweep, merges), "sweep"), key=lambda point: point.values)
    marks = landmarks(chosen, wanted_sweep)
    if not emit(described(wanted_sweep, points, marks), json_to):
        show(wanted_sweep, points, marks)


def described(sweep: Sweep, points: Sequence[Point], marks: Mapping[str, Values]) -> dict[str, Any]:
    """Return a finished sweep as JSON types; `best` is None where nothing may be chosen."""
    top = best(points) if sweep.chooses else None
    return {
        "recipe": sweep.recipe.to_dict(), "split": sweep.split, "pictures": sweep.pictures,
        "axes": [{"name": axis.word, "values": list(axis.values)} for axis in sweep.axes],
        "points": [_plain(sweep, point) for point in points],
        "best": None if top is None else _named(sweep, top.values),
        "marks": {name: _named(sweep, values) for name, values in marks.items()},
    }  # fmt: skip


def show(sweep: Sweep, points: Sequence[Point], marks: Mapping[str, Values]) -> None:
    """Print a finished sweep for people."""
    names = [axis.word for axis in sweep.axes]
    tasks = list(next((point.scores for point in points if point.scores), ()))
    cells: list[list[Cell]] = [
        [*point.values, *(_cells(point, tasks) if point.scores else [None] * (5 + len(tasks)))] for point in points
    ]
    print_table((*names, "average %", "low", "high", "normalised %", "interference %", *tasks), cells)
    print(f"Scored {FAIR if sweep.chooses else LOOK}: {sweep.pictures} pictures per task.")
    if sweep.chooses and (top := best(points)) is not None:
        print(f"Best: {sweep.words(top.values)}, {top.average:.1f} %.")
    for name, values in marks.items():
        print(f"{WORDS[name]}: {sweep.words(values)}.")
    for point in points:
        if point.fault:
            print(f"Note: {sweep.words(point.values)} could not be merged: {point.fault}")


WORDS = {"published": "Published default", "current": "This recipe", "table": "Chosen for the results table"}


def _plain(sweep: Sweep, point: Point) -> dict[str, Any]:
    named: dict[str, Any] = {"values": _named(sweep, point.values), "fault": point.fault}
    if not point.scores:
        return named
    low, high = point.interval
    numbers = {"average": point.average, "low": low, "high": high, "normalised": point.normalised,
               "interference": point.interference}  # fmt: skip
    accuracy = {
        task: {"merged": round(s.accuracy, 2), "expert": round(point.alone[task], 2), "n": s.n}
        for task, s in point.scores.items()
    }
    seconds = {kind: round(value, 3) for kind, value in point.seconds.items()}
    rounded = {name: round(value, 2) if value == value else None for name, value in numbers.items()}
    return {**named, **rounded, "accuracy": accuracy, "seconds": seconds}


def _cells(point: Point, tasks: Sequence[str]) -> list[Cell]:
    every = (point.scores[task].accuracy for task in tasks)
    return [point.average, *point.interval, point.normalised, point.interference, *every]


def _named(sweep: Sweep, values: Values) -> dict[str, Any]:
    return {axis.word: value for axis, value in zip(sweep.axes, values, strict=True)}
