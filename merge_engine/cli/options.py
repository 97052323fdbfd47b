"""Options that several commands share, and what their text means."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from ..errors import RecipeError, SuiteError, no_such
from ..runs.recipe import check_name
from ..suite import Suite

Json = Annotated[
    str | None, typer.Option("--json", metavar="PATH|-", help="Write JSON to a file, or to stdout with '-'.")
]
SuiteName = Annotated[str | None, typer.Option("--suite", help="Name of a suite, or the folder of one. [pictures]")]
Experts = Annotated[str | None, typer.Option("--experts", metavar="A,B,…", help="Experts to merge. [all]")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A parameter; KEY.NAME=VALUE for one of a post-step."),
]
Pretrained = Annotated[
    Path | None, typer.Option("--pretrained", metavar="PATH", help="Pretrained model outside a suite: safetensors.")
]
ExpertFiles = Annotated[
    list[str] | None, typer.Option("--expert", metavar="NAME=PATH", help="Expert outside a suite; repeat.")
]
BackboneName = Annotated[
    str | None, typer.Option("--backbone", help="Architecture of the files. [recognised by tensor names]")
]
Device = Annotated[
    str | None, typer.Option("--device", help="Where models run: cpu, cuda, cuda:1 or mps. [MERGESCOPE_DEVICE, or cpu]")
]

DEFAULT_SUITE = "pictures"


def names(text: str | None) -> tuple[str, ...] | None:
    """Return the names of a comma-separated list; None when nothing was given."""
    if text is None:
        return None
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if not found:
        raise RecipeError("An empty list of names was given; separate names by commas, such as digits,fashion.")
    return found


def settings(given: Sequence[str] | None, owners: Iterable[str] = ()) -> dict[str, dict[str, str]]:
    """Return `--set` values by owner; without a dot they belong to the owner ''."""
    owners = list(owners)
    found: dict[str, dict[str, str]] = {owner: {} for owner in ("", *owners)}
    for text in given or ():
        left, equals, value = text.partition("=")
        owner, _, name = left.strip().rpartition(".")
        if not equals or not name or not value.strip():
            raise RecipeError(f"--set takes NAME=VALUE, such as scaling=0.5; got '{text}'.")
        if owner not in found:
            raise RecipeError(no_such("step of this command for --set", owner, owners) if owners else _no_steps(text))
        found[owner][name] = value.strip()
    return found


def expert_files(given: Sequence[str] | None) -> dict[str, Path]:
    """Return the `--expert NAME=PATH` files by name."""
    found: dict[str, Path] = {}
    for text in given or ():
        name, equals, path = text.partition("=")
        if not equals or not name.strip() or not path.strip():
            raise RecipeError(f"--expert takes NAME=PATH, such as cars=cars/model.safetensors; got '{text}'.")
        if name.strip() in found:
            raise RecipeError(f"Expert '{name.strip()}' is given twice; name each once.")
        found[name.strip()] = Path(path.strip())
    return found


def experts_of(suite: Suite, given: Sequence[str] | None) -> tuple[str, ...]:
    """Return the experts to merge, all by default, checked against the suite."""
    if given is None:
        if not suite.experts:
            raise SuiteError(f"Suite {suite.name} has no expert yet; run `python -m merge_engine train {suite.name}`.")
        return suite.experts
    for name in given:
        check_name("expert", name)
        suite.expert_file(name)
    return tuple(given)


def tasks_of(suite: Suite, given: str | None) -> tuple[str, ...] | None:
    """Return the tasks of `--tasks`: names, `all`, `seen`, or None for those of the experts."""
    groups: dict[str, tuple[str, ...]] = {"all": tuple(suite.tasks), "seen": suite.seen, "unseen": suite.unseen}
    if given in groups:
        return groups[given]
    chosen = names(given)
    for name in chosen or ():
        suite.task(name)
    return chosen


def _no_steps(text: str) -> str:
    return f"--set {text} names a step, and none was added; use NAME=VALUE, or add the step with --post."
