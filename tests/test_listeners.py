"""Merging and cancelling as the buttons do it, without a browser: on a page whose components are their own names."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from merge_engine.adapting.adapt import JOINT
from merge_engine.inputs import SuiteInputs
from merge_engine.maths.svd import SvdStore
from viz.page import acts
from viz.page import session as state
from viz.page.layout import Page
from viz.page.listeners import CANCELLED, IDLE, Listeners
from viz.page.session import Session
from viz.page.workbench import Workbench

HERE: Any = SimpleNamespace(session_hash="here")
OTHER: Any = SimpleNamespace(session_hash="other")


@pytest.fixture
def on(toy, toy_by_name) -> Listeners:
    page = Page(**{field.name: field.name for field in dataclasses.fields(Page)})
    return Listeners(page, Workbench(svd=SvdStore(folder=None)))


@pytest.fixture
def session(toy, toy_by_name) -> Session:
    return acts.perform(acts.first_session(("toy",), {})[0], {"act": "method", "value": "we_moe"})


def parts(answers) -> Iterator[dict]:
    return (answer for answer in answers if isinstance(answer, dict) and "__type__" not in answer)


def test_a_merge_that_was_cancelled_while_it_waited_never_begins(on, session, monkeypatch):
    monkeypatch.setattr(on.bench, "run", lambda *_: pytest.fail("it began"))
    on.start(HERE)
    assert on.cancel(HERE) == {"status": CANCELLED, **IDLE}
    assert list(parts(on.merge(session, HERE))) == [{"status": CANCELLED, **IDLE}]


def test_another_visitor_cancels_nothing(on, session):
    on.start(HERE)
    on.start(OTHER)
    on.cancel(OTHER)
    assert list(parts(on.merge(session, OTHER))) == [{"status": CANCELLED, **IDLE}]
    first = next(iter(parts(on.merge(session, HERE))))
    assert first["status"] != CANCELLED


@pytest.mark.parametrize("method", ["adamerging", "adarank", "we_moe", "e_we_moe", "rankone_moe"])
def test_a_method_that_adapts_is_asked_before_every_pass(on, session, method, monkeypatch):
    """What the button waits for is at most one pass of an update, which holds one task here, or one of its watching."""
    recipe = state.recipe(state.take(state.choose_method(session, method), method, {"steps": 3, "batch": JOINT}))
    worked, most = [0], 0
    monkeypatch.setattr(SuiteInputs, "logits", _counted(SuiteInputs.logits, worked))
    moments = []
    for run in on.bench.run(recipe, lambda: not any((m.step.done, m.step.total) == (2, 3) for m in moments)):
        moments.append(run)
        most, worked[0] = max(most, worked[0]), 0
    assert most <= 2, "the last task of an update, and the first of its watching"
    assert {run.phase for run in moments} == {"merging"}
    assert moments[-1].step.done == 2


def _counted(real, count: list[int]):
    def counting(*given, **more):
        count[0] += 1
        return real(*given, **more)

    return counting
