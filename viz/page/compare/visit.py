"""The runs of a visit: a table that sorts, and dots of what they cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from merge_engine.methods import method_class
from merge_engine.runs.recipe import Recipe
from merge_engine.runs.run import own_tasks
from merge_engine.suite import Suite, load_suite
from viz import markup, theme
from viz.panels.run_costs import MethodPoint

from ..headline import Answer, answer, duration, size
from ..record import Record, Run
from ..table import changes, number, shaded
from .comparison import PINS, Comparison, of_suite, recipe_at

HEADS = {"run": "run", "method": "method", "experts": "experts", "average": "average"}
TAILS = {"normalised": "of experts", "parameters": "to store", "merge": "to merge", "score": "to score"}
TITLE = "Runs of this visit"
CAPTION = (
    "Accuracy in percent on the test pictures of every run of this visit. A heading sorts by its column; "
    "A and B pin two runs, which are compared below."
)
NOTHING = "Nothing was merged in this visit yet. Press Merge on the first tab; every result you see is collected here."


@dataclass(frozen=True)
class Seen:
    """One run of a visit: its place among them, counted from 1, its words, and what is known of it."""

    number: int
    link: str
    recipe: Recipe
    run: Run | None
    found: Answer
    title: str
    changes: str

    def value(self, column: str) -> float | str | None:
        """Return what a column sorts by; None where it is not known."""
        if column.startswith("task "):
            score = self.run.scores.get(column.removeprefix("task ")) if self.run else None
            return score.accuracy if score else None
        plain = {"run": self.number, "method": f"{self.title} {self.changes}".lower()}
        plain |= {"experts": len(self.recipe.experts)}
        known = {"average": self.found.average, "normalised": self.found.normalised}
        if self.run:
            known |= {"parameters": self.run.stored_parameters, "merge": self.run.merge_seconds}
            known |= {"score": self.run.score_seconds or None}
        return plain[column] if column in plain else _finite(known.get(column))


def described(recipe: Recipe) -> tuple[str, str]:
    """Return a recipe's method with its post-steps, and what differs from their published defaults."""
    steps = [(recipe.method, dict(recipe.parameters)), *((key, dict(given)) for key, given in recipe.post)]
    seed = f", seed {recipe.seed}" if recipe.seed else ""
    return " + ".join(method_class(key).title for key, _ in steps), f"{changes(steps)}{seed}"


def run_of(record: Record, link: str) -> Run | None:
    """Return what the run of a link scored, here or in the stored results, or None."""
    recipe = recipe_at(link)
    if any(expert not in load_suite(recipe.suite).experts for expert in recipe.experts):
        return None
    return record.known(recipe)


def reference(record: Record, comparison: Comparison, run: Run | None) -> Run | None:
    """Return the run pinned as A where it can stand beside another one: of the same suite, and not the same run."""
    if run is None or not comparison.a:
        return None
    recipe = recipe_at(comparison.a)
    return None if recipe.suite != run.recipe.suite or recipe == run.recipe else run_of(record, comparison.a)


def seen_part(run: Run | None) -> dict[str, str]:
    """Return the word that differs whenever another result is on the page; nothing while it is on its way."""
    if run is None or not run.scores or run.phase not in ("done", "stopped"):
        return {}
    pictures = sum(score.n for score in run.scores.values())
    return {"seen": f"{run.recipe.to_link()} {pictures} {run.score_seconds:.3f}"}


def seen_runs(record: Record, comparison: Comparison, suite: Suite) -> list[Seen]:
    """Return the runs of a visit on a suite, in the order of the table."""
    comparison, baselines = of_suite(comparison, suite.name), record.baselines(suite.name)
    found = []
    for number_of, link in zip(range(len(comparison.seen), 0, -1), comparison.seen, strict=True):
        recipe, run = recipe_at(link), run_of(record, link)
        known = answer(run, own_tasks(suite, recipe), baselines) if run else Answer()
        found.append(Seen(number_of, link, recipe, run, known, *described(recipe)))
    return _ordered(found, comparison)


def runs_table(found: Sequence[Seen], comparison: Comparison, suite: Suite) -> str:
    """Return the table as HTML; headings sort, and every row pins and loads its run."""
    if not found:
        return f'<p class="mp-notice">{NOTHING}</p>'
    tasks = [task for task in suite.tasks if any(one.value(f"task {task}") is not None for one in found)]
    columns = {**HEADS, **{f"task {task}": task for task in tasks}, **TAILS}
    head = "".join(_head(key, word, comparison) for key, word in columns.items())
    body = "".join(_row(one, tasks, comparison) for one in found)
    table = (
        '<div class="mp-table-box" tabindex="0" role="region" aria-label="Runs of this visit">'
        f'<table class="mp-table mp-runs"><thead><tr><th scope="col">pin</th>{head}'
        f"</tr></thead><tbody>{body}</tbody></table></div>"
    )
    return markup.frame("runs", TITLE, CAPTION, table, rows(found, comparison, tasks))


def rows(found: Sequence[Seen], comparison: Comparison, tasks: Sequence[str]) -> tuple[list[str], list[list]]:
    """Return one line per run with its numbers as they were measured; accuracies in percent, times in seconds."""
    numbers = ["average", *(f"task {task}" for task in tasks), *TAILS]
    heads = ["pin", "run", "method", "setting", "experts", "average", *tasks, *TAILS.values()]
    return heads, [
        [letters(comparison, one.link), one.number, one.title, _about(one), ", ".join(one.recipe.experts),
         *(_number(one, column) for column in numbers)]
        for one in found
    ]  # fmt: skip


def points(found: Sequence[Seen], comparison: Comparison) -> list[MethodPoint]:
    """Return the dots of the scatter; the pinned runs stand out and carry their letters."""
    dots = []
    for one in found:
        average, stored, seconds = (_number(one, column) for column in ("average", "parameters", "merge"))
        if average is None or stored is None or seconds is None:
            continue
        pin, cls = letters(comparison, one.link), method_class(one.recipe.method)
        short = one.title if one.changes == "published default" else f"{one.title}, {one.changes}"
        title = f"{pin}: {theme.short(short, 32)}" if pin else theme.short(short, 32)
        needs_task = "task id" in one.recipe.build()[0].needs
        dots.append(MethodPoint(
            one.recipe.digest, title, cls.family, average, stored, seconds, one.changes, needs_task, bool(pin),
        ))  # fmt: skip
    return dots


def letters(comparison: Comparison, link: str) -> str:
    """Return the pins that a run has: A, B, A = B or nothing."""
    return " = ".join(which.upper() for which in PINS if getattr(comparison, which) == link)


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _ordered(found: list[Seen], comparison: Comparison) -> list[Seen]:
    """Return the runs by the chosen column, those that lack its number last."""
    column = comparison.sort
    known = [one for one in found if one.value(column) is not None]
    missing = [one for one in found if one.value(column) is None]
    return sorted(known, key=lambda one: one.value(column), reverse=not comparison.rising) + missing  # type: ignore


def _head(key: str, word: str, comparison: Comparison) -> str:
    now = comparison.sort == key
    order = f' aria-sort="{"ascending" if comparison.rising else "descending"}"' if now else ""
    arrow = ("↑" if comparison.rising else "↓") if now else ""
    return (
        f'<th scope="col"{order}><button type="button" data-emit="sort" value="{escape(key, quote=True)}">'
        f'{escape(word)}<i aria-hidden="true">{arrow}</i></button></th>'
    )


def _row(one: Seen, tasks: Sequence[str], comparison: Comparison) -> str:
    tied, name = f'data-recipe="{one.link}"', escape(f"{one.title}, run {one.number}", quote=True)
    pins = "".join(
        f'<button type="button" class="mp-pin" data-emit="pin" data-name="{which}" {tied} '
        f'aria-pressed="{str(getattr(comparison, which) == one.link).lower()}" '
        f'aria-label="Pin {name} as {which.upper()}">{which.upper()}</button>'
        for which in PINS
    )
    experts = f'<td title="{escape(", ".join(one.recipe.experts), quote=True)}">{len(one.recipe.experts)}</td>'
    cells = [shaded(_number(one, f"task {task}")) for task in tasks]
    texts = (number(_number(one, "normalised")), _said(size, one, "parameters"), _said(duration, one, "merge"),
             _said(duration, one, "score"))  # fmt: skip
    load = f'<button type="button" data-emit="load" {tied} aria-label="Load {name}">load</button>'
    return (
        f"<tr><td>{pins}{load}</td><td>{one.number}</td>"
        f'<th scope="row">{escape(one.title)}<small>{escape(_about(one))}</small></th>{experts}'
        f'<td class="mp-strong">{"≈ " if one.run and one.run.partial else ""}{number(one.found.average)}</td>'
        f"{''.join(cells)}{''.join(f'<td>{escape(text)}</td>' for text in texts)}</tr>"
    )


def _about(one: Seen) -> str:
    """Return what differs from the defaults, and whether the numbers are not those of a whole run."""
    if one.run is None:
        return f"{one.changes}; not measured yet, load it and press Merge"
    if one.run.partial:
        n, total = (sum(getattr(score, key) for score in one.run.scores.values()) for key in ("n", "total"))
        return f"{one.changes}; {n:,} of {total:,} pictures scored"
    return f"{one.changes}; stored result" if one.run.stored else one.changes


def _number(one: Seen, column: str) -> float | None:
    value = one.value(column)
    return value if isinstance(value, float) else None


def _said(words, one: Seen, column: str) -> str:
    value = _number(one, column)
    return "–" if value is None else words(value)
