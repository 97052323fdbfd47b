"""What Twin-Merging shows of its parts: accuracy and bytes by their rank, and how much they hold. Knows no Gradio."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Generator
from typing import Any

import numpy as np

from merge_engine.routing.twin_energy import is_twin
from merge_engine.runs.recipe import Recipe
from merge_engine.runs.run import own_tasks
from merge_engine.suite import load_suite
from viz.panel import Drawing, draw
from viz.panels import twin_energy, twin_rank
from viz.panels.twin_rank import RankCurve
from viz.pin import Pin

from ..colors import task_colors
from ..headline import answer
from ..record import model_size
from ..workbench import Workbench
from .both import Both

TWIN = "twin_merging"
RANK = "rank_share"  # hyper-parameter of Twin-Merging
BYTES = 4  # of a stored number
PATIENCE = 0.1  # seconds between two looks whether a merge still runs
AWAY = "is not in memory: load it, press Merge, and come back"


def ranks_part(both: Both) -> Drawing | None:
    """Return accuracy and bytes of Twin-Merging at the ranks that were measured so far, where there are several.

    A pinned run is marked where it is one of them; any other one is a level.
    """
    (recipe, other), pinned, colors = both.recipes, both.pinned, task_colors(both.suite)
    own, theirs = (ranks_of(both.bench, one) if one else None for one in (recipe, other))
    if own is None or recipe is None or pinned is None or pinned.run is None:
        there = theirs and dataclasses.replace(theirs, chosen=None)
        words: dict[str, Any] = {"lacks": "keeps no parts of different ranks", "colors": colors}
        if pinned and theirs and own is None:
            words["pinned"] = Pin(pinned.letter, theirs.chosen)
        return both.drawn(twin_rank, (own, there), **words)
    if strange := pinned.strange(recipe):
        return draw(twin_rank, own, aside=strange, colors=colors)
    letter = pinned.letter
    if (share := _rank_of(pinned.recipe, recipe)) is not None:
        return draw(twin_rank, own, colors=colors, pinned=Pin(letter, share))
    level = answer(pinned.run, own.tasks, {}).average
    references = own.references if level is None else {**own.references, letter: level}
    sizes = {**own.sizes, letter: BYTES * pinned.run.stored_parameters}
    return draw(twin_rank, dataclasses.replace(own, references=references, sizes=sizes), colors=colors)


def _rank_of(other: Recipe, recipe: Recipe) -> float | None:
    """Return the rank of a recipe that differs from another one in nothing else; None for any other."""
    if other.method != recipe.method:
        return None
    given, here = dict(other.parameters), dict(recipe.parameters)
    alike = dataclasses.replace(other, parameters={**given, RANK: here[RANK]})
    return given[RANK] if alike.digest == recipe.digest else None


def ranks_of(bench: Workbench, recipe: Recipe) -> RankCurve | None:
    """Return what Twin-Merging scored and takes at the ranks that were measured so far; None for fewer than two."""
    found = bench.record.varied(recipe, RANK) if recipe.method == TWIN else []
    if len(found) < 2:
        return None
    suite, last = load_suite(recipe.suite), found[-1]
    tasks, size = own_tasks(suite, recipe), BYTES * model_size(suite)
    alone = zip(*((last.accuracy[t].pretrained, last.accuracy[t].expert) for t in tasks), strict=True)
    known = dict(zip(("pretrained", "experts"), alone, strict=True))
    return RankCurve(
        tasks, np.array([result.parameters[RANK] for result in found]),
        np.array([[result.accuracy[task].merged for task in tasks] for result in found]),
        np.array([BYTES * result.stored_parameters for result in found]), dict(recipe.parameters)[RANK],
        {name: float(np.mean(values)) for name, values in known.items() if None not in values},
        {"one model": size, "all experts": size * len(recipe.experts)},
    )  # fmt: skip


def energy_steps(both: Both, going: Callable[[], bool]) -> Generator[dict[str, Drawing | None], None, None]:
    """Measure the energies of Twin merges when nobody merges, and draw them; None where neither run is one."""
    bench, recipes = both.bench, both.recipes
    if not any(recipe and is_twin(bench.merged(recipe)) for recipe in recipes):
        yield {"energy": None}
        return
    while bench.busy and going():
        time.sleep(PATIENCE)
    found = [bench.energies(recipe, going) if recipe else None for recipe in recipes]
    if going():
        lacks = [AWAY if recipe and recipe.method == TWIN else "keeps no exclusive parts" for recipe in recipes]
        yield {"energy": both.drawn(twin_energy, found, *lacks, selected=both.place)}
