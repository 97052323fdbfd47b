"""Read and draw what the first visitor will need while the page is already being served."""

from __future__ import annotations

import logging

from merge_engine.errors import MergeError
from merge_engine.suite import load_suite, suite_folders
from merge_engine.weights import in_memory

from . import acts, library, view
from . import session as state
from .drill.drill import drill_steps, measured_of
from .drill.knocked import Knocked
from .session import Session
from .weights.lenses import focus_of, lens_steps
from .workbench import Workbench

LOG = logging.getLogger("mergescope")


def warm_up(bench: Workbench) -> None:
    """Draw the first page, then open its suite: its backbone, its pretrained weights and its pictures.

    At last the process that makes maps compiles what it needs, at low priority.
    """
    try:
        session = acts.first_session(tuple(suite_folders()), {})[0]
        suite = load_suite(session.suite)
        if suite.experts:
            draw_first(bench, session)
        suite.problem(suite.experts[:1] or None)
        for task in suite.tasks:
            suite.prepared(task, "score")
        weights = in_memory(suite.pretrained_in_memory, suite.device)
        suite.features(weights, suite.prepared(next(iter(suite.tasks)), "score")[:1])
        library.parts(session)
        bench.near.warm()
    except MergeError as error:
        LOG.warning("%s", error)


def draw_first(bench: Workbench, session: Session) -> None:
    """Draw what a session opens with, as far as it is stored: the figures of the weights are kept as they are drawn."""
    run = bench.record.known(state.recipe(session))
    view.controls_parts(bench, session)
    view.answer_parts(bench, session, run)
    if measured_of(bench, session) is None:
        return
    for _ in lens_steps(bench, focus_of(session, None), lambda: True, set()):
        pass
    for _ in drill_steps(bench, Knocked(bench), session, run.recipe.digest if run else "", lambda: True):
        pass
