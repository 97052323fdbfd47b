"""The models that a landscape goes through: of a suite, a merge of its experts, or one that was saved."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..contract import Context
from ..errors import RecipeError, WeightsError, no_such
from ..merged import Merged, StaticMerged
from ..methods import method_class
from ..running import drive, merge_steps
from ..runs.content import checkpoint_digest, model_digest, suite_digest
from ..runs.recipe import Recipe
from ..runs.run import own_tasks, problem_of
from ..suite import Suite
from ..weights import SafetensorsWeights, Weights, load_weights

PRETRAINED = "pretrained"


@dataclass(frozen=True)
class Corner:
    """A model by name: `content` differs for every other one, `tasks` are those that it was made for.

    Its weights are read when they are asked for.
    """

    name: str
    content: str
    tasks: tuple[str, ...]
    weights: Callable[[], Weights] = field(repr=False, compare=False)


def known_models(suite: Suite) -> tuple[str, ...]:
    """Return the names of the models of a suite: the pretrained one and the experts."""
    return (PRETRAINED, *suite.experts)


def of_suite(suite: Suite, name: str) -> Corner:
    """Return the pretrained model or an expert; raises RecipeError for any other name."""
    if name not in known_models(suite):
        raise RecipeError(no_such(f"model in suite {suite.name}", name, known_models(suite)))
    if name == PRETRAINED:
        return Corner(name, model_digest(suite, None), (), lambda: suite.pretrained_in_memory)
    return Corner(name, model_digest(suite, name), (suite.task_of[name],), lambda: suite.expert(name))


def of_recipe(suite: Suite, recipe: Recipe, name: str = "", merged: Callable[[], Merged] | None = None) -> Corner:
    """Return the merge of a recipe, made by `merged` or here when its weights are asked for.

    Raises RecipeError then where the merge is several models.
    """
    title = method_class(recipe.method).title
    content = f"{recipe.digest} {suite_digest(suite, recipe.experts, 'score')}"

    def weights() -> Weights:
        made = merged() if merged else _merge(suite, recipe)
        if not isinstance(made, StaticMerged):
            raise RecipeError(f"{title} makes several models, which are not one point; choose another merge.")
        return made.weights()

    return Corner(name or title, content, tuple(own_tasks(suite, recipe)), weights)


def of_file(suite: Suite, path: str | Path) -> Corner:
    """Return a saved model of the suite's architecture: the tasks of its recipe where it carries one, else all.

    Raises WeightsError for a file that cannot be read or lacks a tensor.
    """
    path, pretrained = Path(path), suite.pretrained_in_memory
    weights = load_weights(path, pretrained)
    lost = [n for n in pretrained if n not in weights or weights[n].shape != pretrained[n].shape]
    if lost:
        raise WeightsError(f"{path} lacks {lost[0]} of {suite.name}'s pretrained model, or has it in another shape.")
    told = weights.metadata.get("mergescope_recipe") if isinstance(weights, SafetensorsWeights) else None
    return Corner(path.stem, checkpoint_digest([path]), _tasks_told(suite, told), lambda: weights)


def corners(suite: Suite, models: Sequence[str | Corner], count: int) -> tuple[Corner, ...]:
    """Return `count` different models, those of a suite by name; raises RecipeError for anything else."""
    found = tuple(one if isinstance(one, Corner) else of_suite(suite, one) for one in models)
    names = [one.name for one in found]
    if len(set(names)) != count or len(found) != count:
        raise RecipeError(f"This takes {count} different models; got {', '.join(names) or 'none'}.")
    return found


def tasks_of(found: Sequence[Corner]) -> tuple[str, ...]:
    """Return the tasks that some models were made for."""
    return tuple(dict.fromkeys(task for one in found for task in one.tasks))


def _merge(suite: Suite, recipe: Recipe) -> Merged:
    method, post = recipe.build()
    method.check(recipe.experts)
    return drive(merge_steps(problem_of(suite, recipe), method, post, Context(suite.device, recipe.seed)))


def _tasks_told(suite: Suite, recipe: str | None) -> tuple[str, ...]:
    """Return the tasks of the experts that a saved merge names in its metadata, all seen ones where it names none."""
    try:
        experts = json.loads(recipe or "{}").get("experts", ())
    except ValueError:
        experts = ()
    return tuple(dict.fromkeys(suite.task_of[e] for e in experts if e in suite.task_of)) or suite.seen
