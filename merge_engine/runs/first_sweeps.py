"""The sweep that the page proposes for every method whose scaling merges nothing anew, stored so that nobody waits."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

from ..contract import Context, Step
from ..precision import KNOWN
from ..suite import Suite
from .results import write_json
from .sweep import FOLDER, Stored, Sweep, sweep_steps
from .table import entries as lines
from .tuning import Merges, scales


def first_sweeps(suite: Suite) -> list[Sweep]:
    """Return the sweeps over the scaling coefficient of all experts' merges, at each method's published default."""
    recipes = [line.recipe(suite) for line in lines() if not line.post]
    return [Sweep.of(recipe, ["scaling"]) for recipe in recipes if scales(recipe)]


def first_sweep_steps(suite: Suite, folder: Path) -> Generator[Step, None, list[Path]]:
    """Sweep in every precision that a page may score in, one file each, yielding Steps; returns the files."""
    merges = Merges(suite, Context(suite.device))
    found: dict[Path, dict[str, Any]] = {}
    for sweep in first_sweeps(suite):
        for dtype in KNOWN.values():
            yield from sweep_steps(sweep, merges, dtype)
            store = Stored(suite, sweep, dtype)
            entries = {sweep.at(values).digest: store.entry(sweep, values) for values in sweep.visits()}
            found.setdefault(folder / FOLDER / store.file.name, {}).update(entries)
    for file, entries in found.items():
        write_json(file, entries)
    return list(found)
