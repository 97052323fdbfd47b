"""`table`: every method of a suite, at its published default and at the setting chosen on validation."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Annotated, Any

import typer

from ..contract import Step
from ..runs.publish import table_folder, write_table
from ..runs.table import VALIDATION_PICTURES, TableRun, entries, reference_steps
from ..save import writable
from ..suite import load_suite
from . import options
from .output import check_target, emit, followed, note, print_table


def table(
    suite: options.SuiteName = None,
    methods: Annotated[str | None, typer.Option("--methods", help="Only these: keys, or METHOD+POST. [all]")] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="Score at most so many pictures per task.")] = None,
    validation: Annotated[
        int, typer.Option("--validation", help="Validation pictures per task to choose settings on.")
    ] = VALIDATION_PICTURES,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget the rows of an interrupted run.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder of table.json. [the suite's; none with --limit]")
    ] = None,
    json_to: options.Json = None,
) -> None:
    """Measure the results table; an interrupted run goes on where it stopped."""
    check_target(json_to)
    chosen = load_suite(suite or options.DEFAULT_SUITE)
    lines = entries(options.names(methods))
    run = TableRun(chosen, limit, validation)
    target = out if out is not None or limit is not None else table_folder(chosen)
    if target is not None:
        writable(target)
    if fresh:
        run.forget()
    reference = followed(reference_steps(chosen, limit), "baselines")
    rows = followed(_spoken(run.steps(lines)), "table")
    if target is not None:
        write_table(chosen, rows, reference, target)
    run.forget()
    if not emit(rows, json_to):
        _show(rows, reference)


def _spoken(steps: Generator[Step, None, Any]) -> Generator[Step, None, Any]:
    """Pass the steps on, with a line on stderr for every row that is measured."""
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            return end.value
        if step.label.startswith("row "):
            average = step.metrics.get("average %")
            note(f"{step.done}/{step.total} {step.label[4:]}" + ("" if average is None else f": {average:.2f} %"))
        yield step


def _show(rows: list[dict[str, Any]], reference: dict[str, Any]) -> None:
    print(f"Pretrained model {reference['pretrained']} %, experts {reference['experts']} %.")
    columns = ("method", "setting", "average %", "normalised %", "NAI", "unseen %", "stored M", "merge s")
    cells = [
        (
            row["title"], row["setting"], row["average"], row["normalised_average"], row["nai"],
            row["unseen_average"], row["stored_parameters"] / 1e6, row["seconds"]["merge"],
        )
        for row in rows
    ]  # fmt: skip
    print_table(columns, cells)
