"""Named settings of a method or post-step, each one press away, and why one of its three roads is missing.

The three roads: as published, best on validation, and an instructive failure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from merge_engine.errors import RecipeError, no_such
from merge_engine.hp import declared
from merge_engine.methods import method_class
from merge_engine.runs.publish import chosen_row, stored_lines
from merge_engine.runs.recipe import Recipe
from merge_engine.runs.table import CHOSEN, CPU, Row, shown_row
from merge_engine.suite import Suite, load_suite
from merge_engine.tensorwise import PostStep

from .session import Session, parameters

PUBLISHED, FAILURE = "published", "failure"
WORDS = {
    PUBLISHED: "as published", CHOSEN: "best on validation", CPU: "for a laptop", "quick": "quick",
    "closed-form": "closed form", "fusionbench": "as FusionBench", FAILURE: "a failure",
}  # fmt: skip
BOTH = "as published, and best on validation"
BEST, FAILING = "best on validation", "instructive failure"  # the roads that may be missing


@dataclass(frozen=True)
class Setting:
    """All hyper-parameters of a method or post-step under a name; `remark` is said once they are taken.

    `values` has them by owner: a setting of a post-step may bring those of the method before it.
    """

    name: str
    words: str
    values: Mapping[str, Mapping[str, Any]]
    remark: str = ""


@dataclass(frozen=True)
class Roads:
    """The settings of a method or post-step, and for each road that is missing, by its words, a sentence why."""

    settings: tuple[Setting, ...]
    missing: Mapping[str, str]


def roads(session: Session, owner: str) -> Roads:
    """Return what leads to a setting of the session's method or post-step."""
    cls = method_class(owner)
    if not declared(cls):
        return Roads((), {BEST: "There is nothing to choose.", FAILING: cls.lesson})
    found = {name: _declared(owner, name) for name in (PUBLISHED, *cls.presets)}
    missing = {} if FAILURE in found else {FAILING: cls.lesson}
    row = chosen_row(load_suite(session.suite), steps_of(session, owner), session.experts)
    if row is None:
        missing = {BEST: _untried(session, owner), **missing}
    else:
        best = _chosen(row, owner)
        same = best.values == found[PUBLISHED].values
        found |= {PUBLISHED: Setting(PUBLISHED, BOTH, best.values, best.remark)} if same else {CHOSEN: best}
    return Roads(tuple(found[name] for name in sorted(found, key=_place)), missing)


def setting(session: Session, owner: str, name: str) -> Setting:
    """Return one setting; raises RecipeError for an unknown one."""
    known = {each.name: each for each in roads(session, owner).settings}
    if name not in known:
        raise RecipeError(no_such(f"preset of {method_class(owner).title}", name, known))
    return known[name]


def differ(before: Session, after: Session) -> bool:
    """Return whether two sessions of one method offer different settings."""
    owners = [owner for owner in (after.method, after.post) if owner]
    return any(roads(before, owner) != roads(after, owner) for owner in owners)


def taken(session: Session, found: Setting) -> bool:
    """Return whether the session stands at a setting."""
    return all(parameters(session, owner) == values for owner, values in found.values.items())


def steps_of(session: Session, owner: str) -> tuple[str, ...]:
    """Return the steps whose setting an owner has in the session: a post-step stands after the method."""
    return (session.method, owner) if issubclass(method_class(owner), PostStep) else (owner,)


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


def _declared(owner: str, name: str) -> Setting:
    cls = method_class(owner)
    remark = f"What to notice: {cls.lesson}" if name == FAILURE else ""
    return Setting(name, WORDS.get(name, name), {owner: cls(**cls.preset(name)).parameters()}, remark)


def _chosen(row: Row, owner: str) -> Setting:
    """Return what validation chose; with a post-step, the method before it stands at its own choice."""
    given = {row["method"]: row["parameters"], **{step["method"]: step["parameters"] for step in row["post"]}}
    values = {key: method_class(key)(**values).parameters() for key, values in given.items()}
    remark = row["protocol"].partition("Parameters: ")[2]
    after = f" {method_class(row['method']).title} stands at its own best." if owner != row["method"] else ""
    return Setting(CHOSEN, WORDS[CHOSEN], values, f"{remark[:1].upper()}{remark[1:]}{after}")


def _untried(session: Session, owner: str) -> str:
    """Return why nothing is known that validation chose for this method and these experts."""
    cls, suite, steps = method_class(owner), load_suite(session.suite), steps_of(session, owner)
    lines = stored_lines(suite)
    if (row := lines.get("+".join(steps), {}).get(CHOSEN)) is not None:
        whom = "all experts" if tuple(row["experts"]) == suite.experts else _listed(row["experts"])
        return f"It was chosen for {whom} of the suite; choose exactly those to see it."
    bases = [line[CHOSEN]["method"] for name, line in lines.items() if name.endswith(f"+{owner}") and CHOSEN in line]
    if bases:
        return f"As a step afterwards it was tried behind {_listed(method_class(key).title for key in bases)} only."
    if CPU in cls.presets:
        return "No grid was tried: one trial takes minutes. The setting for a laptop is a shorter course."
    numbers = [hp for hp in declared(cls).values() if hp.is_number]
    if any(hp.sweep for hp in numbers):
        return "Nothing was chosen for this suite: it has no table of results."
    if not numbers:
        return "It has no number to tune, and its variants were not tried against each other."
    if all(hp.per_expert for hp in numbers):
        return "Its only numbers are one per expert, and no grid of those was tried."
    return "No grid of its numbers was tried; the published ones stand."


def _listed(names: Sequence[str] | Any) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _place(name: str) -> int:
    return list(WORDS).index(name) if name in WORDS else len(WORDS)
