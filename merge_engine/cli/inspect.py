"""`inspect`: any measurement as a table, JSON or CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .. import metrics
from ..contract import Context
from ..devices import chosen_device
from ..errors import RecipeError, no_such
from ..inputs import SuiteInputs
from ..merged import Merged
from ..problem import Problem
from ..running import merge_steps
from ..runs.measuring import measure_steps
from ..runs.recipe import Recipe, read_recipe
from ..runs.run import Protocol
from . import options
from .check import problem_of
from .output import check_target, csv_text, emit, followed, print_table, write_text


def inspect(
    metric: Annotated[str, typer.Option("--metric", help="Key of the measurement; see `metrics`.")],
    suite: options.SuiteName = None,
    experts: options.Experts = None,
    given: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="An option of the metric; METHOD.NAME=VALUE for the merge."),
    ] = None,
    method: Annotated[str | None, typer.Option("--method", help="Measure this merge beside its experts.")] = None,
    post: Annotated[list[str] | None, typer.Option("--post", help="Post-step of that merge; repeat.")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="Recipe file of that merge.")] = None,
    tensor: Annotated[list[str] | None, typer.Option("--tensor", help="Only this tensor; repeat.")] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", help="Inputs per task, where the metric needs inputs.")
    ] = None,
    level: Annotated[str | None, typer.Option("--level", help="Rows: all, part, block, kind, tensor.")] = None,
    quantity: Annotated[str | None, typer.Option("--quantity", help="Columns, curves included: A,B,…")] = None,
    device: options.Device = None,
    pretrained: options.Pretrained = None,
    expert: options.ExpertFiles = None,
    backbone: options.BackboneName = None,
    json_to: options.Json = None,
    csv_to: Annotated[
        str | None, typer.Option("--csv", metavar="PATH|-", help="Write CSV to a file, or to stdout with '-'.")
    ] = None,
) -> None:
    """Measure the weights of experts, and of a merge where one is given."""
    check_target(json_to)
    check_target(csv_to)
    Protocol(limit=limit)
    columns = options.names(quantity)
    recipe = {} if config is None else read_recipe(config)
    merging, values = _merging(recipe, method, post, given)
    measuring = metrics.build(metric, **values)
    levels = _levels(level, metrics.LEVELS if json_to or csv_to else measuring.shown)
    named = experts or ",".join(recipe.get("experts", ())) or None
    problem = problem_of(suite or recipe.get("suite") or None, named, pretrained, expert, backbone)
    ctx = Context(chosen_device(device), recipe.get("seed", 0))
    merged = None if merging is None else _merged(problem, Recipe("", problem.tasks, *merging), ctx)
    data = problem.inputs.suite.on(ctx.device) if isinstance(problem.inputs, SuiteInputs) else None
    steps = measure_steps(measuring, problem, data, merged, ctx, names=tensor, limit=limit)
    rows = metrics.table(followed(steps, "measuring"), quantities=columns, levels=levels)
    taken = emit(rows, json_to)
    if csv_to is not None:
        write_text(csv_text(rows), csv_to)
    elif not taken:
        _show(measuring, rows)


def _merging(
    recipe: dict[str, Any], method: str | None, post: list[str] | None, given: list[str] | None
) -> tuple[tuple[str, dict[str, Any], tuple[Any, ...]] | None, dict[str, str]]:
    """Return method, parameters and post-steps of the merge to measure, if any, and the metric's own options."""
    key = method or recipe.get("method")
    after = [*recipe.get("post", []), *({"method": name, "parameters": {}} for name in post or ())]
    values = options.settings(given, [name for name in (key, *(s["method"] for s in after)) if name])
    if key is None:
        return None, values[""]
    kept = recipe.get("parameters", {}) if key == recipe.get("method") else {}
    steps = tuple((s["method"], {**s["parameters"], **values[s["method"]]}) for s in after)
    return (key, {**kept, **values[key]}, steps), values[""]


def _merged(problem: Problem, recipe: Recipe, ctx: Context) -> Merged:
    method, post = recipe.build()
    return followed(merge_steps(problem, method, post, ctx), "merging")


def _levels(given: str | None, usual: tuple[str, ...]) -> tuple[str, ...]:
    if given is None:
        return usual
    chosen = options.names(given) or ()
    for name in chosen:
        if name not in metrics.LEVELS:
            raise RecipeError(no_such("level", name, metrics.LEVELS))
    return chosen


def _show(measuring: metrics.Metric, rows: list[dict[str, Any]]) -> None:
    print(f"{measuring.title}: {measuring.about}" + (f" ({measuring.unit})" if measuring.unit else ""))
    if not rows:
        print("Nothing to show at this level.")
        return
    filled = [name for name in rows[0] if any(row[name] is not None for row in rows)]
    print_table(filled, [[row[name] for name in filled] for row in rows])
