"""Which runs of a visit have a place on the plane, and why the others have none. Knows no Gradio."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from merge_engine.merged import StaticMerged
from merge_engine.methods import method_class
from merge_engine.runs.recipe import Recipe

from ..compare.comparison import Comparison, of_suite, recipe_at
from ..workbench import Workbench

MERGES = 8  # merges on the plane
NAMED = 4  # runs that are named for each reason
ROUTED = "routed: other weights for every input or task, so not one point in weight space"
UNKEPT = "only the result is known here, not the weights: load and merge again to see it here"
OLDER = f"only the latest {MERGES} are placed"
WAITS = "press Start to place it"


@dataclass(frozen=True)
class Placed:
    """The merges of a visit that are one point, by the digest of their recipe, and why the other runs are not.

    `names` and `links` are those of `merges`, `left` the names of the runs without a place, each with its reason.
    """

    merges: Mapping[str, StaticMerged]
    names: Mapping[str, str]
    links: Mapping[str, str]
    left: Sequence[tuple[str, str]]

    def without(self, digests: Collection[str]) -> Placed:
        """Return the same without some merges, which a landscape shows already."""
        return dataclasses.replace(
            self,
            merges={digest: merged for digest, merged in self.merges.items() if digest not in digests},
            names={digest: name for digest, name in self.names.items() if digest not in digests},
        )

    def sentence(self, known: Callable[[str], bool]) -> str:
        """Return which runs are not drawn and why; `known` tells whether the merge of a digest is measured."""
        waiting = [(name, WAITS) for digest, name in self.names.items() if not known(digest)]
        reasons: dict[str, list[str]] = {}
        for name, why in (*waiting, *self.left):
            reasons.setdefault(why, []).append(name)
        parts = [f"{_listed(names)} ({why})" for why, names in reasons.items()]
        return f"Of this visit's runs, not drawn: {'; '.join(parts)}." if parts else ""


def placed(bench: Workbench, comparison: Comparison, suite: str) -> Placed:
    """Return what has a place on the plane among the runs of one visit: merges in memory that are one model."""
    recipes = [recipe_at(link) for link in reversed(of_suite(comparison, suite).seen)]
    names, merges, left = dict(zip(recipes, names_of(recipes), strict=True)), {}, []
    for recipe in recipes:
        merged = bench.merged(recipe)
        if isinstance(merged, StaticMerged):
            merges[recipe] = merged
        else:
            routed = merged is not None or method_class(recipe.method).kind == "routed"
            left.append((names[recipe], ROUTED if routed else UNKEPT))
    latest = list(merges)[-MERGES:]
    left += [(names[recipe], OLDER) for recipe in merges if recipe not in latest]
    return Placed(
        {recipe.digest: merges[recipe] for recipe in latest}, {recipe.digest: names[recipe] for recipe in latest},
        {recipe.digest: recipe.to_link() for recipe in latest}, left,
    )  # fmt: skip


def names_of(recipes: Sequence[Recipe]) -> list[str]:
    """Return names of merges that differ: the method, with its scaling and number of experts where needed."""
    longer = [_words(recipe) for recipe in recipes]
    found = [""] * len(recipes)
    for i, words in enumerate(longer):
        ways = (", ".join(words[:count]) for count in range(1, len(words) + 1))
        unique = (way for count, way in enumerate(ways, 1) if [w[:count] for w in longer].count(words[:count]) == 1)
        found[i] = next(unique, f"{words[0]}, {recipes[i].digest[:6]}")
    return found


def _words(recipe: Recipe) -> list[str]:
    title = " + ".join(method_class(key).title for key in (recipe.method, *(post for post, _ in recipe.post)))
    scaling = dict(recipe.parameters).get("scaling")
    return [title, *([f"scaling {scaling:g}"] if scaling is not None else []), f"{len(recipe.experts)} experts"]


def _listed(names: Sequence[str]) -> str:
    """Return names as words: the first few, then how many more."""
    shown = [*names[:NAMED], *([f"{len(names) - NAMED} more"] if len(names) > NAMED else [])]
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))
