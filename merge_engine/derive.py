"""What follows from the declarations of the methods: the list, the schema of a recipe and the reference."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from . import metrics
from .contract import MergeMethod
from .hp import HP, declared
from .methods import registry
from .runs.recipe import NAME
from .tensorwise import PostStep

REFERENCE = Path(__file__).parent / "methods" / "README.md"
JSON_TYPES = {float: "number", int: "integer", bool: "boolean", str: "string"}
FAMILIES = (
    "Averaging",
    "Task vectors",
    "Sign and sparsity",
    "Spectral",
    "Uses inputs",
    "Masks (task known)",
    "Adaptive",
    "Routed",
    "Post-steps",
)


def method_list() -> list[dict[str, Any]]:
    """Return every method and post-step with its hyper-parameters, as JSON types, by key."""
    return [_method(key, cls) for key, cls in registry().items()]


def metric_list() -> list[dict[str, Any]]:
    """Return every measurement with its options and the arrays it produces, as JSON types, by key."""
    return [_metric(key, cls) for key, cls in metrics.registry().items()]


def recipe_schema() -> dict[str, Any]:
    """Return the JSON schema (2020-12) of a recipe file."""
    methods = {key: cls for key, cls in registry().items() if not issubclass(cls, PostStep)}
    steps = {key: cls for key, cls in registry().items() if issubclass(cls, PostStep)}
    name = {"type": "string", "pattern": f"^{NAME.pattern}$"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A merge recipe",
        "type": "object",
        "additionalProperties": False,
        "required": ["method", "experts"],
        "properties": {
            "suite": {"anyOf": [name, {"const": ""}], "description": "Name of the suite; empty for files."},
            "experts": {"type": "array", "items": name, "minItems": 1, "uniqueItems": True},
            "method": {"enum": list(methods)},
            "parameters": {"type": "object"},
            "post": {"type": "array", "items": {"oneOf": [_step_schema(k, c) for k, c in steps.items()]}},
            "seed": {"type": "integer", "minimum": 0},
        },
        "oneOf": [
            {"properties": {"method": {"const": key}, "parameters": _parameters_schema(cls)}}
            for key, cls in methods.items()
        ],
    }


def reference_page() -> str:
    """Return the reference of all methods in Markdown."""
    by_family: dict[str, list[tuple[str, type[MergeMethod]]]] = {}
    for key, cls in registry().items():
        by_family.setdefault(cls.family, []).append((key, cls))
    order = sorted(by_family, key=lambda f: (FAMILIES.index(f) if f in FAMILIES else len(FAMILIES), f))
    lines = [
        "# Merge methods",
        "",
        "Generated from the declarations by `python -m merge_engine reference --write`; do not edit.",
        "One file here is one method; its name is the key.",
        "",
        "| family | key | method | kind | needs | idea |",
        "|---|---|---|---|---|---|",
    ]
    for family in order:
        lines += [_overview(key, cls) for key, cls in by_family[family]]
    for family in order:
        lines += ["", f"## {family}"]
        for key, cls in by_family[family]:
            lines += _section(key, cls)
    return "\n".join(lines) + "\n"


def _method(key: str, cls: type[MergeMethod]) -> dict[str, Any]:
    low, high = cls.experts_allowed
    return {
        "key": key,
        "kind": cls.kind,
        "needs": sorted(cls.needs),
        "title": cls.title,
        "family": cls.family,
        "idea": cls.idea,
        "formula": cls.formula,
        "paper": cls.paper,
        "experts": {"low": low, "high": high},
        "parameters": [_parameter(hp) for hp in declared(cls).values()],
    }


def _metric(key: str, cls: type[metrics.Metric]) -> dict[str, Any]:
    return {
        "key": key,
        "title": cls.title,
        "about": cls.about,
        "formula": cls.formula,
        "reference": cls.reference,
        "unit": cls.unit,
        "source": cls.source,
        "per": list(cls.per()),
        "levels": list(cls.levels),
        "merged": cls.merge if issubclass(cls, metrics.WeightMetric) else "needed",
        "quantities": {name: what.help for name, what in cls.produces.quantities().items()},
        "parameters": [_parameter(hp) for hp in declared(cls).values()],
    }


def _parameter(hp: HP) -> dict[str, Any]:
    return {
        "name": hp.name,
        "type": hp.type.__name__,
        "default": list(hp.default) if isinstance(hp.default, tuple) else hp.default,
        "low": hp.low,
        "high": hp.high,
        "soft": list(hp.soft) if hp.soft else None,
        "step": hp.step,
        "choices": list(hp.choices),
        "help": hp.help,
        "symbol": hp.symbol,
        "per_expert": hp.per_expert,
        "pairs": hp.pairs,
        "sweep": list(hp.sweep),
        "word": hp.word,
    }


def _step_schema(key: str, cls: type[MergeMethod]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["method"],
        "properties": {"method": {"const": key}, "parameters": _parameters_schema(cls)},
    }


def _parameters_schema(cls: type[MergeMethod]) -> dict[str, Any]:
    properties = {name: _parameter_schema(hp) for name, hp in declared(cls).items()}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _parameter_schema(hp: HP) -> dict[str, Any]:
    scalar: dict[str, Any] = {"enum": list(hp.choices)} if hp.choices else {"type": JSON_TYPES[hp.type]}
    if hp.low is not None:
        scalar["minimum"] = hp.low
    if hp.high is not None:
        scalar["maximum"] = hp.high
    if hp.word:
        scalar = {"anyOf": [scalar, {"const": hp.word}]}
    schema = {"type": "array", "items": scalar} if hp.per_expert else scalar
    default = list(hp.default) if isinstance(hp.default, tuple) else hp.default
    return {**schema, "default": default, "description": hp.help}


def _overview(key: str, cls: type[MergeMethod]) -> str:
    needs = ", ".join(sorted(cls.needs)) or "weights only"
    anchor = cls.title.lower().replace(" ", "-")
    anchor = "".join(c for c in anchor if c.isalnum() or c in "-_")
    return f"| {cls.family} | `{key}` | [{_cell(cls.title)}](#{anchor}) | {cls.kind} | {needs} | {_cell(cls.idea)} |"


def _section(key: str, cls: type[MergeMethod]) -> list[str]:
    lines = ["", f"### {cls.title}", "", f"`{key}`. {cls.idea}", "", f"    {cls.formula}", "", f"{cls.paper}."]
    notes = _notes(cls)
    if notes:
        lines += ["", notes]
    parameters = declared(cls).values()
    if parameters:
        head = "| parameter | symbol | default | allowed | tried on validation | meaning |"
        lines += ["", head, "|---|---|---|---|---|---|"]
        lines += [_parameter_row(hp) for hp in parameters]
    return lines


def _parameter_row(hp: HP) -> str:
    unset = "all equal" if hp.per_expert else "none" if hp.pairs else ""
    default = f"{hp.default}" if hp.default or not unset else unset
    sweep = ", ".join(str(value) for value in hp.sweep) or "not swept"
    cells = (f"`{hp.name}`", hp.symbol, default, hp.allowed(), sweep, hp.help)
    return "| " + " | ".join(_cell(cell) for cell in cells) + " |"


def _notes(cls: type[MergeMethod]) -> str:
    """Return the text under `Notes` of a method's docstring, as one paragraph per blank line."""
    _, found, notes = (inspect.getdoc(cls) or "").partition("Notes\n-----\n")
    return notes.strip() if found else ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
