"""The tabs about what is stored of a suite: every method's results with the studies, and the suite itself.

Filled when they are opened, so that the first sight of the page waits for none of it. Knows no Gradio.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from merge_engine.suite import Suite, load_suite

from .about import about
from .compare.beside import Beside
from .luck import luck
from .methods import scatter, studied
from .options import options
from .session import Session
from .spoiled import spoiled
from .surer import surer
from .table import lines, methods_table
from .view import Parts

STUDIES = {"spoiled": spoiled, "surer": surer, "options": options, "luck": luck}


def parts(session: Session, pinned: Beside | None) -> Parts:
    """Return both tabs, with the pinned run where there is one."""
    return methods(session, pinned) | told(session)


def methods(session: Session, pinned: Beside | None) -> Parts:
    """Return the tab of all methods; the session's own stands out in the scatter, and so does the pinned run."""
    suite = load_suite(session.suite)
    return {**_stored(suite), **among(session, pinned)}


def among(session: Session, pinned: Beside | None) -> Parts:
    """Return what the tab of all methods shows of the pinned run."""
    suite = load_suite(session.suite)
    return {"scatter": scatter(suite, lines(suite), session.method, pinned), "studied": studied(pinned)}


def told(session: Session) -> Parts:
    """Return the tab about the suite."""
    return {"about": about(load_suite(session.suite))}


@lru_cache(maxsize=4)
def _stored(suite: Suite) -> Mapping[str, Any]:
    """Return the table and the studies, which are drawn once in a process: they do not change while the page is up."""
    drawn = {name: study(suite) for name, study in STUDIES.items()}
    texts = {name: drawing.to_json() if drawing else None for name, drawing in drawn.items()}
    return {"table": methods_table(suite, lines(suite)), **texts}
