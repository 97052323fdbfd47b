"""`table`: every method at its published default and at the setting chosen on validation, and its studies."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ..contract import Step
from ..devices import chosen_device
from ..errors import RecipeError, no_such
from ..landscape.first import survey_steps
from ..runs.draws import draw_steps
from ..runs.entropy_study import entropy_steps
from ..runs.first_look import FOLDER, look_steps
from ..runs.first_sweeps import first_sweep_steps
from ..runs.publish import stored_lines, study_in, table_folder, write_study, write_table
from ..runs.results import read_json
from ..runs.robustness import ADAPTED, PICTURES, cases, joined, robustness_steps
from ..runs.seeds import joined as joined_seeds
from ..runs.seeds import seed_steps
from ..runs.sweep import FOLDER as SWEEPS
from ..runs.table import VALIDATION_PICTURES, TableRun, entries, reference_steps
from ..runs.variants import joined as joined_variants
from ..runs.variants import variant_steps
from ..save import writable
from ..suite import Suite, load_suite
from . import options
from .output import check_target, emit, followed, note, print_table

PARTS = ("methods", "draws", "seeds", "weights", "landscape", "sweeps", "robustness", "entropy", "variants")
STORED = ("methods", "weights", "landscape", "sweeps")  # parts that are not studies
# A run of a part of these keeps the other rows.
JOINED = {"robustness": joined, "seeds": joined_seeds, "variants": joined_variants}


def table(
    suite: options.SuiteName = None,
    parts: Annotated[
        str | None, typer.Option("--parts", help=f"Only these of {','.join(PARTS)}. [all]")
    ] = None,
    methods: Annotated[str | None, typer.Option("--methods", help="Only these: keys, or METHOD+POST. [all]")] = None,
    limit: Annotated[int | None, typer.Option("--limit", help="Score at most so many pictures per task.")] = None,
    validation: Annotated[
        int, typer.Option("--validation", help="Validation pictures per task to choose settings on.")
    ] = VALIDATION_PICTURES,
    severities: Annotated[
        str, typer.Option("--severities", help="Severities of the corruptions in the robustness study.")
    ] = "1,2,3,4,5",
    adapted: Annotated[
        str, typer.Option("--adapted", help="Pictures that methods adapt to in the robustness study.")
    ] = ",".join(ADAPTED),
    again: Annotated[
        bool, typer.Option("--again", help="Measure anew at the settings that the stored table chose on validation.")
    ] = False,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Forget the rows of an interrupted run, stored variants and cases of entropy."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder of table.json. [the suite's; none with --limit]")
    ] = None,
    device: options.Device = None,
    json_to: options.Json = None,
) -> None:
    """Measure the results table and its studies; an interrupted run goes on where it stopped."""
    check_target(json_to)
    chosen = load_suite(suite or options.DEFAULT_SUITE).on(chosen_device(device))
    wanted = _parts(parts, methods)
    spoiled = {"severities": _severities(severities), "adapted": _adapted(adapted)}
    lines = entries(options.names(methods))
    run = TableRun(chosen, limit, validation, stored_lines(chosen) if again else {})
    target = out if out is not None or limit is not None else table_folder(chosen)
    if target is not None:
        writable(target)
    if fresh:
        run.forget()
    rows: list[dict[str, Any]] = []
    if "methods" in wanted:
        reference = followed(reference_steps(chosen, limit), "baselines")
        rows = followed(_spoken(run.steps(lines)), "table")
        if target is not None:
            write_table(chosen, rows, reference, target)
        run.forget()
        if not emit(rows, json_to):
            _show(rows, reference)
    stored = read_json(target / "table.json") if target is not None else None
    if "weights" in wanted and target is not None:
        files = followed(look_steps(chosen, target), "weights")
        note(f"weights: {len(files)} measurements in {target / FOLDER}")
    if "landscape" in wanted and target is not None:
        note(f"landscape: {len(followed(survey_steps(chosen, target), 'landscape'))} views in {target}")
    if "sweeps" in wanted and target is not None:
        files = followed(first_sweep_steps(chosen, target), "sweeps")
        note(f"sweeps: {len(files)} files in {target / SWEEPS}")
    known, named = (stored or {}).get("rows", rows), options.names(methods)
    for name in (part for part in wanted if part not in STORED):
        before = () if fresh or target is None else study_in(chosen, name, target)
        _study(chosen, name, _steps_of(name, chosen, known, spoiled, limit, named, before), target)


def _parts(given: str | None, methods: str | None) -> tuple[str, ...]:
    """Return the parts to measure; naming methods asks for the table alone."""
    chosen = options.names(given) or (("methods",) if methods is not None else PARTS)
    for name in chosen:
        if name not in PARTS:
            raise RecipeError(no_such("part of the table", name, PARTS))
    return tuple(chosen)


def _severities(given: str) -> tuple[int, ...]:
    found = options.names(given) or []
    if not found or any(s not in ("1", "2", "3", "4", "5") for s in found):
        raise RecipeError(f"--severities takes whole numbers from 1 to 5, such as 1,3,5; got '{given[:80]}'.")
    return tuple(dict.fromkeys(int(s) for s in found))


def _adapted(given: str) -> tuple[str, ...]:
    found = options.names(given) or []
    if not found or any(name not in ADAPTED for name in found):
        raise RecipeError(f"--adapted takes {' and '.join(ADAPTED)}, separated by a comma; got '{given[:80]}'.")
    return tuple(dict.fromkeys(found))


def _steps_of(
    name: str,
    suite: Suite,
    known: list[dict[str, Any]],
    spoiled: Mapping[str, Sequence[Any]],
    limit: int | None,
    methods: Sequence[str] | None,
    before: Sequence[Mapping[str, Any]],
) -> Generator[Step, None, Any]:
    """Return the steps of a study, which may read what is known from the rows of a table, or of itself before."""
    if name == "draws":
        return draw_steps(suite, limit=limit)
    if name == "seeds":
        return seed_steps(suite, known, methods, limit=limit)
    if name == "robustness":
        lines = cases(suite, known, methods, spoiled["adapted"])
        return robustness_steps(suite, lines, spoiled["severities"], limit or PICTURES)
    if name == "variants":
        return variant_steps(suite, known, methods, limit, before)
    return entropy_steps(suite, limit, before)


def _study(suite: Suite, name: str, steps: Generator[Step, None, Any], target: Path | None) -> None:
    rows = followed(steps, name)
    if target is not None:
        rows = JOINED[name](rows, study_in(suite, name, target)) if name in JOINED else rows
        write_study(suite, name, rows, target)
    note(f"{name}: {len(rows)} rows" + ("" if target is None else f" in {target / name}.md"))


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
