"""What the tab of comparisons shows for a session: the runs of the visit, their costs, and the two pinned ones.

Knows no Gradio.
"""

from __future__ import annotations

from html import escape

from merge_engine.runs.run import own_tasks
from merge_engine.suite import Suite, load_suite
from viz.panel import draw, write
from viz.panels import differences, differing, run_costs
from viz.panels import sides as both_sides

from ..colors import task_colors
from ..headline import answer
from ..record import Run
from ..session import Session
from ..view import Parts, menu
from ..workbench import Workbench
from . import pairing
from .comparison import of_suite
from .pairing import Pairing
from .sides import sides
from .visit import points, run_of, runs_table, seen_runs

HOW = "Pin two runs of the table: one as A and one as B. What differs between them, and how sure that is, follows here."


def mark(bench: Workbench, session: Session) -> str:
    """Return the word that differs whenever the tab would show something else."""
    comparison = of_suite(session.comparison, session.suite)
    known = [run_of(bench.record, link) for link in comparison.seen]
    state = [run.moment if run else "" for run in known]
    view = (session.suite, *comparison.pins, comparison.sort, str(comparison.rising), comparison.task)
    return "|".join((*view, session.inputs.chosen, *comparison.seen, *state))


def table_parts(bench: Workbench, session: Session) -> Parts:
    """Return the table of the visit's runs and the scatter of their costs."""
    suite, comparison = load_suite(session.suite), session.comparison
    found = seen_runs(bench.record, comparison, suite)
    return {"runs": runs_table(found, comparison, suite), "costs": draw(run_costs, points(found, comparison))}


def pair_parts(bench: Workbench, session: Session) -> Parts:
    """Return the verdict on the pinned runs, their differences and the inputs that differ."""
    suite, (a, b) = load_suite(session.suite), _pinned(bench, session)
    found = _pairing(suite, a, b)
    lines = pairing.differences(found) if found else None
    return {
        "verdict": _verdict(session, a, b, found),
        "sides": draw(both_sides, sides(suite, a, b, found) if a and b else None, colors=task_colors(suite)),
        "differences": draw(differences, lines, colors=task_colors(suite)),
        "differing": _differing(session, suite, found),
    }


def differing_part(bench: Workbench, session: Session) -> Parts:
    """Return the inputs that differ alone."""
    suite = load_suite(session.suite)
    return {"differing": _differing(session, suite, _pairing(suite, *_pinned(bench, session)))}


def _pinned(bench: Workbench, session: Session) -> list[Run | None]:
    comparison = of_suite(session.comparison, session.suite)
    return [run_of(bench.record, link) if link else None for link in comparison.pins]


def _pairing(suite: Suite, a: Run | None, b: Run | None) -> Pairing | None:
    found = pairing.pairing(suite, a, b) if a and b else None
    return found if found and found.tasks else None


def _differing(session: Session, suite: Suite, found: Pairing | None) -> str:
    """Return the menu that narrows the inputs to a task, and their thumbnails."""
    if found is None:
        return ""
    counts = {pair.task: pair.counts.first + pair.counts.second for pair in found.tasks}
    task = session.comparison.task if session.comparison.task in counts else ""
    words = {"": f"all tasks ({sum(counts.values()):,})", **{t: f"{t} ({n:,})" for t, n in counts.items()}}
    bar = f'<div class="mp-narrow"><span>Inputs of</span>{menu("differ", "Task", words, task, f"differ {task}")}</div>'
    shown = pairing.differing(suite, found, task)
    return bar + write(differing, shown, selected=session.inputs.chosen, colors=task_colors(suite))


def _verdict(session: Session, a: Run | None, b: Run | None, found: Pairing | None) -> str:
    comparison = of_suite(session.comparison, session.suite)
    if not any(comparison.pins):
        return f'<p class="mp-notice">{HOW}</p>' if comparison.seen else ""
    said = _sentences(comparison.pins, load_suite(session.suite), a, b, found)
    paragraphs = "".join(f"<p>{escape(sentence)}</p>" for sentence in said if sentence)
    return f'<div class="mp-verdict" aria-live="polite">{paragraphs}</div>'


def _sentences(pins: tuple[str, str], suite: Suite, a: Run | None, b: Run | None, found: Pairing | None) -> list[str]:
    """Return the comparison in words: what was found, and what has to be known about it."""
    if not all(pins):
        return [f"Pin another run as {'B' if pins[0] else 'A'} to compare the two."]
    if found and found.tasks:
        return [pairing.verdict(found), " ".join(found.notes)]
    why = pairing.untested(a, b) or "A and B have no task in common, so there is nothing to compare."
    return [_averages(suite, a, b), why]


def _averages(suite: Suite, a: Run | None, b: Run | None) -> str:
    """Return both averages where they are over the same tasks: all that is known without single inputs."""
    if a is None or b is None or set(own_tasks(suite, a.recipe)) != set(own_tasks(suite, b.recipe)):
        return ""
    first, second = (answer(run, own_tasks(suite, run.recipe), {}).average for run in (a, b))
    if first is None or second is None:
        return ""
    return f"A scored {first:.1f} % on average and B {second:.1f} %; whether that is chance is not tested yet."
