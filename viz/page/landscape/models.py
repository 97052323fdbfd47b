"""The models that landscapes of one session can go through: what they are called, and where their weights come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from merge_engine.errors import RecipeError
from merge_engine.landscape.corners import Corner, known_models, of_recipe, of_suite
from merge_engine.merged import Merged
from merge_engine.methods import method_class
from merge_engine.runs.recipe import Recipe
from merge_engine.suite import Suite

from ..workbench import Workbench
from .ground import AVERAGE, MERGE, recipe_of
from .placed import Placed


def offered(suite: Suite, experts: Sequence[str], visit: Placed, chosen: Sequence[str] = ()) -> dict[str, str]:
    """Return names by word: of the suite's models, their average, the merges of a visit, and what is chosen already."""
    average = recipe_of(AVERAGE, suite, experts)
    assert average is not None
    found = {name: name for name in known_models(suite)}
    found[AVERAGE] = f"{method_class(AVERAGE).title} of {len(average.experts)}"
    found |= {MERGE + visit.links[d]: name for d, name in visit.names.items() if d != average.digest}
    for word in chosen:
        recipe = recipe_of(word, suite, experts)
        if word not in found and recipe is not None:
            title = method_class(recipe.method).title
            found[word] = f"{title}, {recipe.digest[:6]}" if title in found.values() else title
    return found


def corner(bench: Workbench, suite: Suite, experts: Sequence[str], word: str, names: Mapping[str, str]) -> Corner:
    """Return the model of a word; the weights of a merge are those that are kept, RecipeError when they are not."""
    recipe = recipe_of(word, suite, experts)
    if recipe is None:
        return of_suite(suite, word)
    return of_recipe(suite, recipe, names[word], lambda: kept(bench, recipe))


def kept(bench: Workbench, recipe: Recipe) -> Merged:
    """Return a merge that is in memory; raises RecipeError for one that is not."""
    merged = bench.merged(recipe)
    if merged is None:
        raise RecipeError(f"{method_class(recipe.method).title} has left the memory; press Start again.")
    return merged
