"""Merge fine-tuned models, score the result and measure what happened inside.

    from . import build, load_suite, merge, score

    suite = load_suite("pictures")
    merged = merge(suite.problem(), build("cart", scaling=2.0))
    print(score(suite, merged))
"""

from .checkpoints import open_checkpoints
from .contract import Context, MergeMethod, Step
from .errors import DataError, MergeError, MissingExtra, RecipeError, SuiteError, WeightsError
from .evaluate import Score, score, score_steps
from .maths.svd import SvdStore
from .merged import Merged, PerTaskMerged, StaticMerged
from .methods import build, registry
from .problem import Problem, TensorGroup
from .running import drive, merge, merge_steps
from .runs.measuring import measure_steps
from .runs.recipe import Recipe, load_recipe
from .runs.results import Result, Results
from .runs.run import Protocol, Run, recipe_for, run_steps
from .save import save_steps
from .suite import Suite, load_suite
from .tensorwise import PostStep, Slice, StoreMerge, TensorMerge
from .weights import compare, load_weights

__all__ = [
    "Context",
    "DataError",
    "MergeError",
    "MergeMethod",
    "Merged",
    "MissingExtra",
    "PerTaskMerged",
    "PostStep",
    "Problem",
    "Protocol",
    "Recipe",
    "RecipeError",
    "Result",
    "Results",
    "Run",
    "Score",
    "Slice",
    "StaticMerged",
    "Step",
    "StoreMerge",
    "Suite",
    "SuiteError",
    "SvdStore",
    "TensorGroup",
    "TensorMerge",
    "WeightsError",
    "build",
    "compare",
    "drive",
    "load_recipe",
    "load_suite",
    "load_weights",
    "measure_steps",
    "merge",
    "merge_steps",
    "open_checkpoints",
    "recipe_for",
    "registry",
    "run_steps",
    "save_steps",
    "score",
    "score_steps",
]
