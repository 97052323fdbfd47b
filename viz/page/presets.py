"""Named settings of a method: as published, the one chosen on validation, its declared presets."""

from __future__ import annotations

from typing import Any

from merge_engine.errors import RecipeError, no_such
from merge_engine.methods import method_class
from merge_engine.runs.publish import stored_lines
from merge_engine.runs.recipe import Recipe
from merge_engine.runs.table import CHOSEN, shown_row
from merge_engine.suite import Suite

PUBLISHED, FAILURE = "published", "failure"
WORDS = {
    PUBLISHED: "as published", CHOSEN: "best on validation", "cpu": "for a laptop", "fusionbench": "as FusionBench",
    FAILURE: "an instructive failure",
}  # fmt: skip


def presets(suite: Suite, owner: str) -> dict[str, dict[str, Any]]:
    """Return all hyper-parameters of a method or post-step by the name of the setting."""
    cls = method_class(owner)
    found = {name: cls(**cls.preset(name)).parameters() for name in (PUBLISHED, *cls.presets)}
    chosen = stored_lines(suite).get(owner, {}).get(CHOSEN)
    if chosen is not None:
        found[CHOSEN] = cls(**chosen["parameters"]).parameters()
    return {name: found[name] for name in sorted(found, key=_place)}


def preset(suite: Suite, owner: str, name: str) -> dict[str, Any]:
    """Return all hyper-parameters at one setting; raises RecipeError for an unknown one."""
    known = presets(suite, owner)
    if name not in known:
        raise RecipeError(no_such(f"preset of {method_class(owner).title}", name, known))
    return known[name]


def first_recipe(suite: Suite) -> Recipe | None:
    """Return what the page opens with: the most accurate stored merge into one model from the weights alone."""
    rows = [shown_row(line) for line in stored_lines(suite).values()]
    single = [
        row for row in rows
        if row["kind"] == "static" and not row["needs"] and not row["post"] and tuple(row["experts"]) == suite.experts
    ]  # fmt: skip
    best = max(single, key=lambda row: row["average"] or 0.0, default=None)
    if best is None:
        return None
    return Recipe(suite.name, suite.experts, best["method"], best["parameters"], (), best["seed"])


def _place(name: str) -> int:
    return list(WORDS).index(name) if name in WORDS else len(WORDS)
