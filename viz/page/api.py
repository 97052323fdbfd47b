"""What programs may ask of a running page: `gradio_client.Client(url).predict(..., api_name="/merge")`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from merge_engine.derive import method_list
from merge_engine.errors import MergeError
from merge_engine.runs.recipe import Recipe
from merge_engine.suite import load_suite, suite_folders

from .record import Run
from .workbench import Workbench, paced


class Api:
    """Named endpoints on one workbench; they take and return JSON."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench

    def publish(self) -> None:
        """Add the endpoints to the current Blocks."""
        gr.api(self.suites, api_name="suites", queue=False)
        gr.api(self.methods, api_name="methods", queue=False)
        gr.api(self.merge, api_name="merge", concurrency_id="compute", concurrency_limit=1)

    def suites(self) -> list[dict[str, Any]]:
        """List the suites with their experts and tasks."""
        found = [load_suite(name) for name in suite_folders()]
        return [{"suite": s.name, "title": s.title, "experts": list(s.experts), "tasks": list(s.tasks)} for s in found]

    def methods(self) -> list[dict[str, Any]]:
        """List the merge methods with their parameters and ranges."""
        return method_list()

    def merge(self, recipe: dict) -> Iterator[dict[str, Any]]:
        """Merge and score a recipe {suite, experts, method, parameters, post, seed}, streaming what is known so far."""
        try:
            for run in paced(self.bench.run(Recipe.from_dict(recipe))):
                yield described(run)
        except MergeError as error:
            raise gr.Error(str(error), print_exception=False) from None


def described(run: Run) -> dict[str, Any]:
    """Return a run as JSON types."""
    return {
        "recipe": run.recipe.to_dict(),
        "phase": run.phase,
        "done": run.step.done,
        "of": run.step.total,
        "accuracy": {
            task: {"merged": s.accuracy, "low": s.interval[0], "high": s.interval[1], "n": s.n, "of": s.total}
            for task, s in run.scores.items()
        },
        "seconds": {"merge": run.merge_seconds, "score": run.score_seconds},
        "notes": list(run.notes),
    }
