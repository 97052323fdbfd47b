"""`reference`: the pages that are generated from declarations and results."""

from __future__ import annotations

from typing import Annotated

import typer

from ..derive import REFERENCE, reference_page
from ..errors import RecipeError


def reference(
    write: Annotated[bool, typer.Option("--write", help="Write the generated page.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Fail when the page is stale.")] = False,
) -> None:
    """Print, write or check the reference of all merge methods."""
    page = reference_page()
    if write:
        REFERENCE.write_text(page, encoding="utf-8")
        return
    if not check:
        print(page, end="")
        return
    there = REFERENCE.read_text(encoding="utf-8") if REFERENCE.is_file() else ""
    if there != page:
        raise RecipeError(f"{REFERENCE.name} of the methods is stale; run `python -m merge_engine reference --write`.")
    print(f"{REFERENCE} is up to date.")
