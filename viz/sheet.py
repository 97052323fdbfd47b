"""The numbers behind a panel, as (columns, rows) that the browser shows as a data table and saves as CSV."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from html import escape
from typing import Any

Table = tuple[Sequence[str], Sequence[Sequence[Any]]]
SAVE = (
    '<div class="ms-tools"><details class="ms-save"><summary>Save</summary><div class="ms-menu">'
    '<button type="button" data-save="csv">Numbers, CSV</button>'
    '<button type="button" data-save="copy">Copy numbers</button></div></details></div>'
)


def numbers(table: Table) -> dict[str, list]:
    """Return a table as JSON values: numbers rounded to six digits, missing ones as None."""
    columns, rows = table
    return {"columns": list(columns), "rows": [[_plain(cell) for cell in row] for row in rows]}


def html(table: Table) -> str:
    """Return the data table of a panel of HTML, folded, with what is said aloud when it was saved."""
    words = escape(json.dumps(numbers(table), ensure_ascii=False), quote=True)
    return (
        f'<details class="ms-data" data-sheet="{words}"><summary>Data table</summary>'
        '<div class="ms-table" tabindex="0" role="region" aria-label="Data table"></div></details>'
        '<div class="ms-live" aria-live="polite"></div>'
    )


def _plain(cell: Any) -> Any:
    if cell is None or isinstance(cell, str | bool):
        return cell
    number = float(cell)
    if not math.isfinite(number):
        return None
    return int(number) if number == int(number) and abs(number) < 1e15 else float(f"{number:.6g}")
