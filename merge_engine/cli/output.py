"""What commands print: JSON and tables on stdout, progress on stderr."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from ..contract import Step
from ..errors import MergeError

Returned = TypeVar("Returned")
Cell = str | float | int | bool | None


class OutputError(MergeError):
    """A place to write to that cannot be written."""


def followed(steps: Generator[Step, None, Returned], title: str) -> Returned:
    """Run steps to their end behind a progress bar on stderr, which only a terminal shows."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"))
    quiet = not console.is_terminal
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True, disable=quiet) as bar:
        line = bar.add_task(title, total=None)
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                return end.value
            bar.update(line, completed=step.done, total=step.total, description=f"{title}: {step.label}"[:60])


def note(sentence: str) -> None:
    """Say something on stderr that is not a result."""
    print(sentence, file=sys.stderr, flush=True)


def emit(value: Any, target: str | None) -> bool:
    """Write JSON where `--json` says; True when stdout is taken by it."""
    if target is None:
        return False
    write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", target)
    return target == "-"


def write_text(text: str, target: str) -> None:
    """Write text to a file, or to stdout for '-'."""
    if target == "-":
        sys.stdout.write(text)
        return
    try:
        Path(target).write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{target} cannot be written: {error.strerror}; choose another path.") from None


def check_target(target: str | None) -> None:
    """Raise OutputError when a file cannot be written, before anything is computed."""
    if target is None or target == "-":
        return
    path = Path(target)
    if path.is_dir() or not path.parent.is_dir():
        what = "is a folder" if path.is_dir() else "lies in a folder that does not exist"
        raise OutputError(f"{target} {what}; choose another path.")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise OutputError(f"{target} cannot be written: Permission denied; choose another path.")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Cell]], title: str = "") -> None:
    """Print a table for people; numbers are aligned right."""
    table = Table(title=title or None, title_justify="left", header_style="bold")
    for index, name in enumerate(columns):
        numeric = any(isinstance(row[index], int | float) for row in rows)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(_text(cell)) for cell in row))
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160)
    console.print(table)


def csv_text(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows as CSV; missing values are empty."""
    buffer = io.StringIO()
    if rows:
        writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return buffer.getvalue()


def _text(cell: Cell) -> str:
    if cell is None:
        return "–"
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 1000 else f"{cell:.4g}"
    return str(cell)
