"""What the declared options of a method are worth: one change at a time from the setting that stands in the table.

A case is stored as soon as it is measured, so an interrupted study goes on.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..contract import Step
from ..suite import Suite
from .content import suite_digest
from .protocol import Protocol
from .recipe import Recipe
from .results import Result, cached_folder, read_json, result_key, write_json
from .run import run_steps
from .table import CPU, Entry, by_line, entries, recipe_of, shown_row

ANCHOR = "as in the table"
Row = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """A method with some parameters changed, in a few words; `half` of the test split is what an adaptive one sees."""

    method: str
    words: str = ANCHOR
    changes: Mapping[str, Any] = field(default_factory=dict)
    half: str = "adapt"

    def of(self, anchor: Recipe) -> Recipe:
        """Return the anchor's recipe with the changes made."""
        return replace(anchor, parameters=dict(anchor.parameters) | dict(self.changes))


RANK_SHARES = (0.02, 0.05, 0.25, 0.5)
VARIANTS = (
    Variant("twin_merging"),
    *(Variant("twin_merging", f"share of the rank {share}", {"rank_share": share}) for share in RANK_SHARES),
    Variant("twin_merging", "one-hot weights", {"weights": "one-hot"}),
    Variant("twin_merging", "uniform weights", {"weights": "uniform"}),
    Variant("twin_merging", "exclusive parts only", {"weights": "exclusive-only"}),
    Variant("twin_merging", "shared model only", {"weights": "shared-only"}),
    Variant("twin_merging", "parts: largest entries", {"compression": "magnitude"}),
    Variant("twin_merging", "parts: random entries", {"compression": "bernoulli"}),
    Variant("twin_merging", "shared model by TSV-M", {"shared": "tsv_m"}),
    Variant("twin_merging", "as published: task known", {"protocol": "as published"}),
    Variant("twin_merging", "the same, transductive", {"protocol": "as published"}, "score"),
    Variant("adarank"),
    Variant("adarank", "on Task Arithmetic", {"base": "task_arithmetic"}),
    Variant("adarank", "on TSV-M", {"base": "tsv_m"}),
    Variant("adarank", "soft masks", {"soft": True}),
    Variant("adarank", "five times the updates", {"steps": 300}),
    Variant("adamerging"),
    Variant("adamerging", "one coefficient per task", {"unit": "task"}),
    Variant("adamerging", "on Ties (AdaMerging++)", {"base": "ties"}),
    Variant("adamerging", "on CART", {"base": "cart"}),
    Variant("adamerging", "five times the updates", {"steps": 300}),
    Variant("we_moe"),
    Variant("we_moe", "routers of one layer", {"depth": 1}),
    Variant("we_moe", "no input in the routers", {"depth": 0}),
    Variant("we_moe", "mean of a batch (leaks)", {"routing": "batch"}),
    Variant("we_moe", "five times the updates", {"steps": 300}),
    Variant("sim"),
    Variant("sim", "route: Twin's router", {"router": "trained"}),
    Variant("sim", "route: MASS", {"router": "weight_projection"}),
    Variant("sim", "route: oracle, task known", {"router": "oracle"}),
    Variant("sim", "features of the average", {"backbone": "average"}),
    Variant("sim", "features of TSV-M", {"backbone": "tsv_m"}),
    Variant("sim", "no centring", {"centring": "none"}),
    Variant("sim", "leave-one-out calibration", {"calibration": "leave-one-out"}),
    Variant("sim", "8 support inputs, rank 6", {"examples": 8, "rank": 6}),
    Variant("sim", "the two best experts", {"decision": "top-2"}),
    Variant("sim", "all experts, weighed", {"decision": "soft"}),
    Variant("sim", "store: whole experts", {"store": "experts"}),
    Variant("sim", "store: EMR", {"store": "emr"}),
    Variant("sim", "store: TALL-masks", {"store": "tall_mask"}),
    Variant("sim", "store: TALL-masks, λ validated", {"store": "tall_mask", "store_settings": "rule=validation"}),
    Variant("sim", "store: CART-Indexing", {"store": "cart_indexed"}),
    Variant("sim", "the mean token", {"tokens": "mean"}),
    Variant("sim", "vote of a batch (leaks)", {"unit": "batch"}),
    Variant("sim", "the head is given", {"head": "given"}),
    Variant("cart"),
    Variant("cart", "rank by half of the energy", {"rank_rule": "energy", "rank": 0.5}),
    Variant("cart", "centred at pretrained, λ 0.3", {"centre": "pretrained", "scaling": 0.3}),
)  # fmt: skip


def variant_steps(
    suite: Suite,
    rows: Iterable[Mapping[str, Any]] = (),
    methods: Collection[str] | None = None,
    limit: int | None = None,
    before: Iterable[Mapping[str, Any]] = (),
) -> Generator[Step, None, list[Row]]:
    """Measure every variant of some or all methods on the tasks of the experts, yielding Steps.

    The anchor is the row of a table, or the cpu preset where no row is given; what stands in the rows of the study
    `before` is not measured again.

    Returns a row per variant: its method and words, whether it is told the task, and its Result in JSON types.
    """
    known, found = by_line(rows), []
    measured = {result.key: result for result in map(Result.from_dict, before)}
    chosen = [variant for variant in VARIANTS if methods is None or variant.method in methods]
    for done, variant in enumerate(chosen, 1):
        (line,) = entries([variant.method])[:1]
        anchor, row = anchor_of(suite, line, known.get(line.name))
        result = row if variant.words == ANCHOR and limit is None else None
        recipe = variant.of(anchor)
        if result is None:
            result = yield from _stored(suite, recipe, Protocol(limit=limit, half=variant.half), measured)
        given = sorted(recipe.build()[0].needs)
        about = {**line.about(), "needs": given, "variant": variant.words, "told": "task id" in given}
        found.append({**about, **result.to_dict()})
        yield Step(done, len(chosen), f"{line.name}, {variant.words}", {"average %": result.average or 0.0})
    return found


def anchor_of(suite: Suite, line: Entry, settings: Mapping[str, Row] | None) -> tuple[Recipe, Result | None]:
    """Return the recipe that stands for a line, and its result where the table has it for what the suite holds."""
    if settings is None:
        return line.recipe(suite, CPU if CPU in line.settings else "published"), None
    row = shown_row(settings)
    recipe = recipe_of(row)
    valid = row["content"] == suite_digest(suite, recipe.experts, "score")
    return recipe, Result.from_dict(row) if valid else None


def joined(new: Sequence[Row], before: Sequence[Row]) -> list[Row]:
    """Return new rows, and earlier ones of other variants that still are variants, in the order of the variants."""
    every = {(row["method"], row["variant"]): row for row in (*before, *new)}
    return [every[key] for v in VARIANTS if (key := (v.method, v.words)) in every]


def _stored(
    suite: Suite, recipe: Recipe, protocol: Protocol, measured: Mapping[str, Result]
) -> Generator[Step, None, Result]:
    """Return a result that was measured before, or merge and score."""
    content = suite_digest(suite, recipe.experts, "score")
    key = result_key(recipe.digest, protocol.split, protocol.limit, content, protocol.half)
    file = cached_folder(suite.name) / "variants" / f"{key}.json"
    if key in measured:
        return measured[key]
    if (kept := read_json(file)) is not None:
        return Result.from_dict(kept)
    run = yield from run_steps(suite, recipe, protocol, chosen="one change from the table's setting")
    write_json(file, run.result.to_dict(), quiet=True)
    return run.result
