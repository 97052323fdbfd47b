"""`suites`, `methods` and `metrics`: what there is."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..derive import method_list, metric_list, recipe_schema
from ..suite import load_suite, suite_folders
from .options import Json
from .output import emit, print_table


def suites(json_to: Json = None) -> None:
    """List the suites: a pretrained model, its experts and their tasks."""
    found = [_suite(name) for name in suite_folders()]
    if not emit(found, json_to):
        rows = [
            (s["name"], s["title"], s["backbone"], len(s["experts"]), len(s["missing_experts"]), ", ".join(s["tasks"]))
            for s in found
        ]
        print_table(("suite", "title", "backbone", "experts", "missing", "tasks"), rows)


def methods(
    json_to: Json = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of a recipe instead.")] = False,
) -> None:
    """List the merge methods and post-steps with their parameters."""
    if schema:
        emit(recipe_schema(), json_to or "-")
        return
    found = method_list()
    if not emit(found, json_to):
        rows = [
            (m["family"], m["key"], m["title"], m["kind"], ", ".join(m["needs"]) or "weights only", _defaults(m))
            for m in sorted(found, key=lambda m: (m["family"], m["key"]))
        ]
        print_table(("family", "key", "method", "kind", "needs", "parameters (published defaults)"), rows)


def metrics(json_to: Json = None) -> None:
    """List the measurements that `inspect` takes."""
    found = metric_list()
    if not emit(found, json_to):
        rows = [(m["key"], m["title"], m["source"], ", ".join(m["per"]), m["about"]) for m in found]
        print_table(("key", "metric", "measured on", "per", "what it says"), rows)


def _suite(name: str) -> dict[str, Any]:
    suite = load_suite(name)
    return {
        "name": suite.name,
        "title": suite.title,
        "backbone": suite.backbone_name,
        "experts": list(suite.experts),
        "missing_experts": list(suite.missing_experts),
        "tasks": {
            task.name: {"title": task.title, "classes": len(task.classes), "seen": task.seen, "licence": task.licence}
            for task in suite.tasks.values()
        },
        "folder": str(suite.folder),
    }


def _defaults(method: dict[str, Any]) -> str:
    return ", ".join(f"{p['name']}={p['default']}" for p in method["parameters"])
