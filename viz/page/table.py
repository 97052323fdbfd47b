"""The stored results of every method: a table of accuracies with one column per task, and points for the scatter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from merge_engine.errors import MergeError
from merge_engine.hp import declared
from merge_engine.methods import method_class
from merge_engine.runs.publish import stored_lines
from merge_engine.runs.recipe import Recipe
from merge_engine.runs.results import Result
from merge_engine.runs.table import CPU, DEFAULT, TRANSDUCTIVE, shown_row
from merge_engine.suite import Suite
from viz import markup
from viz.panels.method_table import MethodPoint

from .controls import shown, words
from .headline import duration, in_bytes, size


@dataclass(frozen=True)
class Line:
    """A method at its best setting, and what it scored otherwise: at its default, and shown the scored pictures."""

    name: str
    title: str
    family: str
    best: Result
    default: float | None
    transductive: float | None
    changes: str
    needs: tuple[str, ...]

    @property
    def task_known(self) -> bool:
        return "task id" in self.needs


def lines(suite: Suite) -> list[Line]:
    """Return the stored table of a suite, best first, methods that know the task last."""
    found = [_line(pair) for pair in stored_lines(suite).values() if {DEFAULT, CPU} & set(pair)]
    return sorted(found, key=lambda line: (line.task_known, _fewer(line), -(line.best.average or 0)))


def methods_table(suite: Suite, found: Sequence[Line]) -> str:
    """Return the table as HTML; every row has a button that composes its recipe."""
    if not found:
        return (
            '<p class="mp-notice">No results are stored for this suite yet. Measure every method with '
            f"<code>python -m merge_engine table --suite {escape(suite.name)}</code>.</p>"
        )
    tasks = [task for task in suite.tasks if any(task in line.best.accuracy for line in found)]
    heads = {
        "method": "", "average": "", "at default": "", "transductive": TRANSDUCTIVE_WORDS, **dict.fromkeys(tasks, ""),
        "of experts": "", "unseen tasks": "", "head": HEAD_WORDS, "is given": "", "passes": PASSES_WORDS,
        "to store": "Parameters, and their bytes in float32; masks in bits", "merge time": "",
        "ms a picture": "Time to score a picture, all its passes included", "chosen setting": "", "": "",
    }  # fmt: skip
    head = "".join(f'<th scope="col"{_hint(hint)}>{escape(h)}</th>' for h, hint in heads.items())
    body = "".join(_row(line, tasks) for line in found)
    table = (
        '<div class="mp-table-box" tabindex="0" role="region" aria-label="Results of every method">'
        f'<table class="mp-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )
    return markup.frame("methods", TITLE, CAPTION, table, rows(found, tasks))


def rows(found: Sequence[Line], tasks: Sequence[str]) -> tuple[list[str], list[list]]:
    """Return one line per method with its numbers as they were measured."""
    heads = ["method", "family", "average", "at default", "transductive", *tasks, "of experts", "unseen tasks"]
    heads += ["routed", "is given", "passes", "stored parameters", "merge seconds", "milliseconds a picture"]
    return [*heads, "chosen setting"], [
        [
            line.title, line.family, line.best.average, line.default, line.transductive,
            *(line.best.accuracy[task].merged if task in line.best.accuracy else None for task in tasks),
            line.best.normalised_average, line.best.unseen_average, bool(line.best.routed), _given(line),
            line.best.forwards, line.best.stored_parameters, line.best.seconds.get("merge"),
            line.best.milliseconds, line.changes,
        ]
        for line in found
    ]  # fmt: skip


TITLE = "Every method at its best setting"
CAPTION = (
    "Accuracy in percent on the score half of the test pictures, at the setting chosen on validation; methods that "
    "adapt or train have their cpu preset, and those that adapt saw the other half. "
    "Methods marked ◇ are told which task a picture is from: a ceiling, not one merged model."
)
TRANSDUCTIVE_WORDS = "Accuracy after adapting to the very pictures that are scored, without their labels"
HEAD_WORDS = "Whether the merge picks the task's head itself, so that a wrong task is a wrong answer, or is given it"
PASSES_WORDS = "Forward passes of one model that a picture costs"
GIVEN = {
    "support": "unlabelled pictures",
    "stream": "unlabelled pictures",
    "train": "train pictures",
    "labels": "labels",
    "validation labels": "validation labels",
    "task id": "the true task",
}


def points(found: Sequence[Line], method: str) -> list[MethodPoint]:
    """Return the dots of the scatter; the one of the session's method stands out."""
    return [
        MethodPoint(
            line.name, line.title, line.family, line.best.average, line.best.stored_parameters,
            line.best.seconds.get("merge", 0.0), line.changes, line.task_known, line.best.method == method,
        )
        for line in found
        if line.best.average is not None and not _fewer(line)
    ]


def _fewer(line: Line) -> bool:
    """True for a method that merges two experts alone, whose average is over two tasks."""
    return len(line.best.experts) == 2


def link_of(result: Result) -> str:
    """Return the link of a stored result's recipe, or nothing when it cannot be merged any more."""
    given = {"suite": result.suite, "experts": list(result.experts), "method": result.method, "seed": result.seed}
    try:
        return Recipe.from_dict(given | {"parameters": dict(result.parameters), "post": list(result.post)}).to_link()
    except MergeError:
        return ""


def _line(pair: dict[str, dict[str, Any]]) -> Line:
    best = shown_row(pair)
    steps = [(best["method"], best["parameters"]), *((p["method"], p["parameters"]) for p in best["post"])]
    at_default, seen = (pair[s]["average"] if s in pair else None for s in (DEFAULT, TRANSDUCTIVE))
    return Line(
        best["name"], best["title"], best["family"], Result.from_dict(best), at_default, seen,
        changes(steps), tuple(best["needs"]),
    )  # fmt: skip


def changes(steps: Iterable[tuple[str, Mapping[str, Any]]]) -> str:
    """Return what differs from the published defaults in the parameters of a method and its post-steps."""
    changed = [
        f"{words(n)} {shown(v)}" for key, given in steps for n, v in given.items() if plain(v) != _published(key, n)
    ]
    return ", ".join(changed) or "published default"


def _published(key: str, name: str) -> Any:
    hp = declared(method_class(key)).get(name)
    return plain(hp.default) if hp else None


def plain(value: Any) -> Any:
    """Return a value as JSON keeps it: rows of numbers as lists."""
    return list(value) if isinstance(value, tuple) else value


def _row(line: Line, tasks: Sequence[str]) -> str:
    best = line.best
    cells = [f'<td class="mp-strong"{_hint(best.protocol)}>{number(best.average)}</td>']
    cells += [f"<td>{number(value)}</td>" for value in (line.default, line.transductive)]
    cells += [shaded(best.accuracy[task].merged if task in best.accuracy else None) for task in tasks]
    measured = (
        number(best.normalised_average), number(best.unseen_average), "routed" if best.routed else "given",
        _given(line), f"{best.forwards:.3g}", f"{size(best.stored_parameters)}, {in_bytes(best.stored_parameters)}",
        duration(best.seconds.get("merge", 0.0)), number(best.milliseconds),
    )  # fmt: skip
    cells += [f"<td>{escape(value)}</td>" for value in measured]
    tied = f'data-emit="load" data-recipe="{link_of(best)}"'
    button = f'<button type="button" {tied} aria-label="Load {escape(line.title, quote=True)}">load</button>'
    mark = " ◇" if line.task_known else " (two experts)" if _fewer(line) else ""
    head = f'<th scope="row" title="{escape(line.family, quote=True)}">{escape(line.title)}{mark}</th>'
    return (
        f"<tr {tied}>{head}{''.join(cells)}"
        f"<td>{escape(line.changes)}</td><td>{button}</td></tr>"
    )


def _given(line: Line) -> str:
    """Return what a method is given beyond the experts, in words."""
    return ", ".join(dict.fromkeys(GIVEN.get(need, need) for need in line.needs)) or "the weights"


def shaded(accuracy: float | None) -> str:
    """A task's accuracy on a ground that is darker the better it is."""
    if accuracy is None:
        return "<td>–</td>"
    return f'<td class="mp-shade" style="--share:{max(0.0, min(100.0, accuracy)):.0f}%">{accuracy:.1f}</td>'


def _hint(words: str) -> str:
    return f' title="{escape(words, quote=True)}"' if words else ""


def number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
