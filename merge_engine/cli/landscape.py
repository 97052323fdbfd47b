"""`landscape`: loss over the plane through three models, along a line, and weight disentanglement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import typer

from ..contract import Context
from ..devices import chosen_device
from ..errors import RecipeError
from ..landscape.disentanglement import Disentanglement, DisentanglementSurvey
from ..landscape.path import TOLERANCE, Path, PathSurvey
from ..landscape.surface import PlaneSurvey, Surface, check_detail
from ..merged import StaticMerged
from ..methods import method_class
from ..running import merge_steps
from ..runs.run import problem_of, recipe_for
from ..suite import load_suite
from . import options
from .output import check_target, emit, followed, print_table


def landscape(
    suite: options.SuiteName = None,
    models: Annotated[
        str | None, typer.Option("--models", metavar="A,B,C", help="The plane through these: pretrained or experts.")
    ] = None,
    merge: Annotated[
        list[str] | None, typer.Option("--merge", help="Project this method's merge onto the plane; repeat.")
    ] = None,
    experts: options.Experts = None,
    path: Annotated[str | None, typer.Option("--path", metavar="A,B", help="The line from A to B.")] = None,
    disentangle: Annotated[
        str | None, typer.Option("--disentangle", metavar="A,B", help="Weight disentanglement of two experts.")
    ] = None,
    pictures: Annotated[int, typer.Option("--pictures", help="Validation pictures per task.")] = 16,
    detail: Annotated[int, typer.Option("--detail", help="Points along a side: 5, 9 or 17.")] = 9,
    tasks: Annotated[str | None, typer.Option("--tasks", help="Tasks to score: A,B or all. [those of A, B, C]")] = None,
    device: options.Device = None,
    json_to: options.Json = None,
) -> None:
    """Measure loss and accuracy between models, on a few validation pictures."""
    check_target(json_to)
    if not (models or path or disentangle):
        raise RecipeError("Say what to measure: --models A,B,C for a plane, --path A,B, or --disentangle A,B.")
    if (merge or experts) and not models:
        raise RecipeError("--merge and --experts place merges on a plane; add --models A,B,C.")
    check_detail(detail)
    chosen = load_suite(suite or options.DEFAULT_SUITE).on(chosen_device(device))
    scored = options.tasks_of(chosen, tasks)
    found: dict[str, Any] = {}
    if models:
        plane = PlaneSurvey(chosen, options.names(models) or (), pictures, scored)
        found["plane"] = _plane(plane, detail, merge or [], experts)
    if path:
        found["path"] = followed(PathSurvey(chosen, options.names(path) or (), pictures, scored).steps(detail), "path")
    if disentangle:
        pair = DisentanglementSurvey(chosen, options.names(disentangle) or (), pictures)
        found["disentanglement"] = followed(pair.steps(detail), "disentanglement")
    if not emit({key: _AS_JSON[key](value) for key, value in found.items()}, json_to):
        for key, value in found.items():
            _SHOWN[key](value)


def _plane(survey: PlaneSurvey, detail: int, methods: Sequence[str], experts: str | None) -> Surface | None:
    merges, names = {}, {}
    for key in methods:
        recipe = recipe_for(survey.suite, key, experts=options.experts_of(survey.suite, options.names(experts)))
        method, post = recipe.build()
        problem = problem_of(survey.suite, recipe)
        merged = followed(merge_steps(problem, method, post, Context(survey.suite.device, recipe.seed)), key)
        if not isinstance(merged, StaticMerged):
            raise RecipeError(f"{method_class(key).title} makes several models, which have no place on a plane.")
        merges[recipe.digest], names[recipe.digest] = merged, method_class(key).title
    followed(survey.steps(detail, merges), "plane")
    return survey.surface(names)


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
