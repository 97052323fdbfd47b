"""The tabs about what is stored of a suite: every method's results with the studies, and the suite itself.

Filled when they are opened, so that the first sight of the page waits for none of it. Knows no Gradio.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from merge_engine.suite import Suite, load_suite
from viz.panel import draw
from viz.panels import method_table

from .about import about
from .luck import luck
from .options import options
from .session import Session
from .spoiled import spoiled
from .surer import surer
from .table import lines, methods_table, points
from .view import Parts

STUDIES = {"spoiled": spoiled, "surer": surer, "options": options, "luck": luck}


def parts(session: Session) -> Parts:
    """Return both tabs."""
    return methods(session) | told(session)


def methods(session: Session) -> Parts:
    """Return the tab of all methods; the session's own stands out in the scatter."""
    suite = load_suite(session.suite)
    return {**_stored(suite), "scatter": draw(method_table, points(lines(suite), session.method))}


def told(session: Session) -> Parts:
    """Return the tab about the suite."""
    return {"about": about(load_suite(session.suite))}


@lru_cache(maxsize=4)
def _stored(suite: Suite) -> Mapping[str, Any]:
    """Return the table and the studies, which are drawn once in a process: they do not change while the page is up."""
    drawn = {name: study(suite) for name, study in STUDIES.items()}
    texts = {name: drawing.to_json() if drawing else None for name, drawing in drawn.items()}
    return {"table": methods_table(suite, lines(suite)), **texts}
