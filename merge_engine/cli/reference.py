"""`reference`: the pages that are generated from declarations and measured tables."""

from __future__ import annotations

from typing import Annotated

import typer

from ..derive import reference_page
from ..errors import RecipeError
from ..runs.publish import generated_pages


def reference(
    write: Annotated[bool, typer.Option("--write", help="Write the methods' page and the README's table.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Fail when one of them is stale.")] = False,
) -> None:
    """Print the reference of all merge methods, or write or check all generated pages."""
    if not (write or check):
        print(reference_page(), end="")
        return
    for path, page in generated_pages().items():
        there = path.read_text(encoding="utf-8") if path.is_file() else ""
        if check and there != page:
            raise RecipeError(f"{path} is stale; run `python -m merge_engine reference --write`.")
        if write:
            path.write_text(page, encoding="utf-8")
        print(f"{path} is up to date.")
