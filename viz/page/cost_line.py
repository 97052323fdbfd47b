"""The line above the button: what a merge takes and leaves. Knows no Gradio."""

from __future__ import annotations

from html import escape

from merge_engine.errors import MergeError
from merge_engine.runs.footprint import FLOAT
from merge_engine.runs.recipe import Recipe
from merge_engine.suite import load_suite

from .costs import memory_of
from .headline import in_bytes, size
from .record import model_size
from .session import Session, recipe
from .workbench import Workbench

TIME = "On this machine, by a measurement of its speed when the page started and by what has run here since"


def cost_line(bench: Workbench, session: Session) -> str:
    """Return what a merge and its scoring take and leave, or why it cannot start."""
    try:
        wanted = recipe(session)
    except MergeError as error:
        return f'<p class="mp-cost mp-bad">{escape(str(error))}</p>'
    one = model_size(load_suite(session.suite))
    kept = bench.merged(wanted) is not None
    takes = f"merged already, {bench.cost(wanted).words}" if kept else bench.cost(wanted).words
    read, (about, left) = one * (1 + len(session.experts)), stored_before(bench, wanted, one)
    return (
        f'<p class="mp-cost"><span title="{escape(TIME, quote=True)}">{takes}</span>'
        f'<span title="Beside what the page holds anyway; it reads {size(read)} parameters, {in_bytes(read)}">'
        f"up to {in_bytes(memory_of(wanted, left) / FLOAT)} of memory</span>"
        f'<span title="{size(left)} parameters to keep afterwards, in float32, on disk or in memory">'
        f"stores {about}{in_bytes(left)}</span></p>"
    )


def stored_before(bench: Workbench, wanted: Recipe, one: float) -> tuple[str, float]:
    """Return the parameters that a merge will leave, before it runs: measured where it ran once, else by its kind.

    A word comes first: `up to ` where its kind gives a bound only.
    """
    known = bench.record.known(wanted)
    if known is not None:
        return "", known.stored_parameters
    several = wanted.build()[0].kind == "routed"
    return ("up to ", one * (1 + len(wanted.experts))) if several else ("", one)
