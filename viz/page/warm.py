"""Read and draw what the first visitor will need while the page is already being served."""

from __future__ import annotations

import logging
import time

import plotly.graph_objects as go

from merge_engine.errors import MergeError
from merge_engine.suite import load_suite, suite_folders

from . import acts, library, view
from . import session as state
from .drill.drill import drill_steps, measured_of
from .drill.knocked import Knocked
from .opening import Opening
from .session import Session
from .weights.lenses import asks, draw_interference, focus_of, lens_steps
from .workbench import Workbench

LOG = logging.getLogger("mergescope")
SETTLED = 30  # seconds until the browser that was opened with the page is idle


def warm_up(bench: Workbench, opening: Opening) -> None:
    """Draw the first page, then open its suite: its backbone, its pretrained weights and its pictures.

    Then time this machine, once more when all has settled. The process that makes maps compiles what it needs, at low
    priority.
    """
    try:
        session = acts.first_session(tuple(suite_folders()), {})[0]
        suite = load_suite(session.suite)
        if suite.experts:
            opening.draw(bench, session)
            opening.draw(bench, session, draw_first(bench, session))
        suite.problem(suite.experts[:1] or None)
        for task in suite.tasks:
            suite.prepared(task, "score")
        bench.costs.calibrate(suite)
        bench.costs.look_up(suite)
        library.parts(session, None)
        bench.near.warm()
        time.sleep(SETTLED)
        while bench.busy:
            time.sleep(1)
        bench.costs.calibrate_again(suite)
    except MergeError as error:
        LOG.warning("%s", error)


def draw_first(bench: Workbench, session: Session) -> go.Figure | None:
    """Draw what a session opens with, as far as it is stored: the figures of the weights are kept as they are drawn.

    Returns the map of interference, where it is measured.
    """
    run = bench.record.known(state.recipe(session))
    view.controls_parts(bench, session)
    view.answer_parts(bench, session, run)
    if measured_of(bench, session) is None:
        return None
    focus = focus_of(session, None)
    for _ in lens_steps(bench, focus, lambda: True, set()):
        pass
    for _ in drill_steps(bench, Knocked(bench), session, run.recipe.digest if run else "", lambda: True):
        pass
    known = bench.measures.together(asks(bench, focus, "interference"))
    return draw_interference(focus, "", *known).first if known else None
