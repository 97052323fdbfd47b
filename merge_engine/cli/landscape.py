"""`landscape`: loss over the plane through three models, along a line, and weight disentanglement."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path as File
from typing import Annotated, Any

import numpy as np
import typer

from ..contract import Context
from ..devices import chosen_device
from ..errors import RecipeError, no_such
from ..landscape.corners import Corner, known_models, of_file, of_recipe, of_suite
from ..landscape.disentanglement import Disentanglement, DisentanglementSurvey
from ..landscape.path import TOLERANCE, Path, PathSurvey
from ..landscape.surface import PlaneSurvey, Surface, check_detail
from ..merged import Merged, StaticMerged
from ..methods import method_class
from ..methods import registry as methods
from ..running import merge_steps
from ..runs.recipe import Recipe, load_recipe
from ..runs.run import problem_of, recipe_for
from ..suite import Suite, load_suite
from . import options
from .output import check_target, emit, followed, print_table


def landscape(
    suite: options.SuiteName = None,
    models: Annotated[
        str | None,
        typer.Option(
            "--models", metavar="A,B,C",
            help="The plane through these: pretrained, an expert, a method to merge by, a recipe file, a saved model.",
        ),
    ] = None,
    merge: Annotated[
        list[str] | None, typer.Option("--merge", help="Project this method's merge onto the plane; repeat.")
    ] = None,
    experts: options.Experts = None,
    path: Annotated[
        str | None, typer.Option("--path", metavar="A,B", help="The line from A to B, named as above.")
    ] = None,
    disentangle: Annotated[
        str | None, typer.Option("--disentangle", metavar="A,B", help="Weight disentanglement of two experts.")
    ] = None,
    pictures: Annotated[int, typer.Option("--pictures", help="Validation pictures per task.")] = 16,
    detail: Annotated[
        int, typer.Option("--detail", help="Points along a side: 21, as published, or 11 or 6 for a cheaper look.")
    ] = 21,
    tasks: Annotated[str | None, typer.Option("--tasks", help="Tasks to score: A,B or all. [those of A, B, C]")] = None,
    device: options.Device = None,
    json_to: options.Json = None,
) -> None:
    """Measure loss and accuracy between models, on a few validation pictures."""
    check_target(json_to)
    if not (models or path or disentangle):
        raise RecipeError("Say what to measure: --models A,B,C for a plane, --path A,B, or --disentangle A,B.")
    if merge and not models:
        raise RecipeError("--merge places merges on a plane; add --models A,B,C.")
    check_detail(detail)
    chosen = load_suite(suite or options.DEFAULT_SUITE).on(chosen_device(device))
    scored, merged = options.tasks_of(chosen, tasks), options.experts_of(chosen, options.names(experts))
    found: dict[str, Any] = {}
    if models:
        plane = PlaneSurvey(chosen, _corners(chosen, models, merged), pictures, scored)
        found["plane"] = _plane(plane, detail, merge or [], merged)
    if path:
        line = PathSurvey(chosen, _corners(chosen, path, merged), pictures, scored)
        _opened(line.ends, line.missing(detail))
        found["path"] = followed(line.steps(detail), "path")
    if disentangle:
        pair = DisentanglementSurvey(chosen, options.names(disentangle) or (), pictures)
        found["disentanglement"] = followed(pair.steps(detail), "disentanglement")
    if not emit({key: _AS_JSON[key](value) for key, value in found.items()}, json_to):
        for key, value in found.items():
            _SHOWN[key](value)


def _plane(survey: PlaneSurvey, detail: int, methods: Sequence[str], experts: tuple[str, ...]) -> Surface | None:
    merges, names = {}, {}
    for key in methods:
        recipe = recipe_for(survey.suite, key, experts=experts)
        merged = _merged(survey.suite, recipe)
        if not isinstance(merged, StaticMerged):
            raise RecipeError(f"{method_class(key).title} makes several models, which have no place on a plane.")
        merges[recipe.digest], names[recipe.digest] = merged, method_class(key).title
    _opened(survey.corners, survey.missing(detail))
    followed(survey.steps(detail, merges), "plane")
    return survey.surface(names)


def _corners(suite: Suite, given: str, experts: tuple[str, ...]) -> list[Corner]:
    return [_corner(suite, word, experts) for word in options.names(given) or ()]


def _corner(suite: Suite, word: str, experts: tuple[str, ...]) -> Corner:
    """Return the model that a word names: of the suite, a method's merge, that of a recipe file, or a saved one."""
    if word in known_models(suite):
        return of_suite(suite, word)
    if word in methods():
        made = recipe_for(suite, word, experts=experts)
    elif not File(word).exists():
        raise RecipeError(no_such("model, method or file", word, (*known_models(suite), *methods())))
    elif File(word).suffix.lower() not in (".json", ".toml"):
        return of_file(suite, word)
    else:
        given = load_recipe(word)
        post = [(key, dict(values)) for key, values in given.post]
        made = recipe_for(suite, given.method, dict(given.parameters), given.experts, post, given.seed)
    return of_recipe(suite, made, File(word).stem, lambda: _merged(suite, made))


@cache
def _merged(suite: Suite, recipe: Recipe) -> Merged:
    method, post = recipe.build()
    method.check(recipe.experts)
    steps = merge_steps(problem_of(suite, recipe), method, post, Context(suite.device, recipe.seed))
    return followed(steps, recipe.method)


def _opened(corners: Sequence[Corner], missing: int) -> None:
    """Merge what has to be merged before a view is measured, each behind a progress bar of its own."""
    for corner in corners if missing else ():
        corner.weights()


def _plane_json(found: Surface) -> dict[str, Any]:
    rows, columns = np.nonzero(np.isfinite(found.loss[..., 0]))
    return {
        "models": found.models, "pictures": found.pictures, "split": "validation",
        "markers": [
            {"name": m.name, "merge": m.merge, "x": m.x, "y": m.y, "off the plane": m.off,
             **_by_task(found.tasks, m.loss, m.accuracy)}
            for m in found.markers
        ],
        "points": [
            {"x": found.x[c], "y": found.y[r], **_by_task(found.tasks, found.loss[r, c], found.accuracy[r, c])}
            for r, c in zip(rows, columns, strict=True)
        ],
    }  # fmt: skip


def _path_json(found: Path) -> dict[str, Any]:
    return {
        "models": found.models, "pictures": found.pictures, "split": "validation",
        "barrier": {task or "average": _barriers(found, task) for task in ("", *found.tasks)},
        "connected": found.connected,
        "points": [
            {"share": share, **_by_task(found.tasks, loss, accuracy)}
            for share, loss, accuracy in zip(found.shares, found.loss, found.accuracy, strict=True)
        ],
    }  # fmt: skip


def _barriers(found: Path, task: str) -> dict[str, Any]:
    loss, accuracy = (found.barrier(task, accuracy=a) for a in (False, True))
    return {} if loss is None or accuracy is None else {"loss": loss.height, "at": loss.at, "accuracy": accuracy.height}


def _disentanglement_json(found: Disentanglement) -> dict[str, Any]:
    rows, columns = np.nonzero(np.isfinite(found.error))
    return {
        "experts": found.experts, "pictures": found.pictures, "split": "validation",
        "points": [
            {"scalings": [found.scalings[c], found.scalings[r]], "xi": found.error[r, c],
             "changed": found.changed[r, c].tolist()}
            for r, c in zip(rows, columns, strict=True)
        ],
    }  # fmt: skip


def _by_task(tasks: Sequence[str], loss: np.ndarray, accuracy: np.ndarray) -> dict[str, Any]:
    return {
        name: {"average": _number(values.mean()), **{t: _number(v) for t, v in zip(tasks, values, strict=True)}}
        for name, values in (("loss", loss), ("accuracy", accuracy))
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _show_plane(found: Surface) -> None:
    print_table(
        ("model", "off the plane", "loss", "accuracy %", *(f"loss, {task}" for task in found.tasks)),
        [(m.name, m.off, float(m.loss.mean()), float(m.accuracy.mean()), *map(float, m.loss)) for m in found.markers],
        f"Plane through {', '.join(found.models)}: {found.measured} points",
    )
    best = np.unravel_index(np.nanargmin(found.loss.mean(-1)), found.loss.shape[:2])
    mix = ", ".join(f"{share:.2f} {name}" for name, share in zip(found.models, found.mixture[best], strict=True))
    lowest, accuracy = found.loss[best].mean(), found.accuracy[best].mean()
    print(f"Lowest loss on the lattice: {lowest:.3f} nats, {accuracy:.1f} %, at {mix}.")
    if any(m.merge for m in found.markers):
        print("Merges lie off the plane by the distance given; their loss is their own, not that of the plane there.")


def _show_path(found: Path) -> None:
    rows = [(task or "average", b.get("loss"), b.get("at"), b.get("accuracy"))
            for task in ("", *found.tasks) for b in [_barriers(found, task)]]  # fmt: skip
    title = f"From {found.models[0]} to {found.models[1]}: {len(found.shares)} points"
    print_table(("task", "barrier, nats", "at share", "barrier, points of accuracy"), rows, title)
    print(f"Linearly connected, within {TOLERANCE:.0f} points of accuracy: {'yes' if found.connected else 'no'}.")


def _show_disentanglement(found: Disentanglement) -> None:
    known = np.flatnonzero(np.isfinite(found.error).any(axis=0))
    rows = [(f"{found.scalings[r]:g}", *found.error[r, known]) for r in known]
    columns = (f"{found.experts[1]} \\ {found.experts[0]}", *(f"{a:g}" for a in found.scalings[known]))
    print_table(columns, [(b, *map(float, xi)) for b, *xi in rows], "ξ, 0 to 2, by the scalings of the task vectors")


_AS_JSON: dict[str, Any] = {"plane": _plane_json, "path": _path_json, "disentanglement": _disentanglement_json}
_SHOWN: dict[str, Any] = {"plane": _show_plane, "path": _show_path, "disentanglement": _show_disentanglement}
