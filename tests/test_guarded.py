"""Errors that nobody foresaw: each leaves one sentence, nothing is measured for ever, and the page lives on."""

from __future__ import annotations

import dataclasses
import inspect
import json
import logging
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from merge_engine.maths.svd import SvdStore
from merge_engine.metrics import WeightMetric, key_of
from viz.page import acts
from viz.page.compare.compares import Compares
from viz.page.drill.drills import Drills
from viz.page.drill.knocked import Knocked
from viz.page.events import wire
from viz.page.guarded import guarded, sentence
from viz.page.layout import Page, build_page
from viz.page.listeners import Listeners, visitor
from viz.page.weights.looks import Looks
from viz.page.workbench import Workbench

HERE: Any = SimpleNamespace(session_hash="here", query_params={})
SAID = gr.EventData(None, {"act": "knock", "value": "x"})


class Broken:
    """A session of which nothing can be read."""

    def __getattr__(self, name: str) -> Any:
        raise ZeroDivisionError(f"no {name} today")


@pytest.fixture
def bench(toy, toy_by_name) -> Workbench:
    return Workbench(svd=SvdStore(folder=None))


@pytest.fixture
def page() -> Page:
    """A page whose components are their own names."""
    return Page(**{field.name: field.name for field in dataclasses.fields(Page)})


@pytest.fixture
def wired(bench):
    """The listeners of a page as they are wired: what is called, with how many values, and what it may change."""
    with gr.Blocks() as demo:
        page = build_page(None)
        wire(page, bench, demo)
    names = {getattr(page, field.name)._id: field.name for field in dataclasses.fields(Page)}
    return demo, names


def answers(listener, *given) -> list[Any]:
    found = listener(*given)
    return list(found) if inspect.isgenerator(found) else [found]


def texts(parts: list[dict]) -> list[str]:
    """Return what status lines say, of all values."""
    values = [
        value for part in parts for value in part.values() if isinstance(value, str) and value.startswith("{")
    ]
    return [json.loads(value)["text"] for value in values if "text" in value]


def test_every_listener_that_fails_says_so_in_a_line_it_may_change(wired, caplog, monkeypatch):
    demo, names = wired
    monkeypatch.setattr("viz.page.shelf.Tickets.held", lambda *_: 1 / 0)
    monkeypatch.setattr("viz.page.shelf.Tickets.take", lambda *_: 1 / 0)
    monkeypatch.setattr("viz.page.shelf.Tickets.cancel", lambda *_: 1 / 0)
    monkeypatch.setattr("viz.page.compare.comparison.recipe_at", lambda *_: 1 / 0)
    checked = 0
    for block in demo.fns.values():
        if block.fn.__name__ == "heard":
            continue
        given = [Broken() if names.get(one._id) == "session" else "word" for one in block.inputs]
        takes = inspect.signature(block.fn).parameters
        given += [SAID] if "event" in takes else []
        given += [SimpleNamespace(session_hash="here")] if "request" in takes else []
        caplog.clear()
        with caplog.at_level(logging.ERROR, "mergescope"):
            found = [part for part in answers(block.fn, *given) if "__type__" not in part]
        assert found, f"{block.fn.__qualname__} says nothing"
        said = [text for text in texts(found) if text]
        assert len(said) == 1, f"{block.fn.__qualname__} says {said}"
        assert "The log has the details." in said[0]
        assert "Traceback" in caplog.text
        changed = {key for part in found for key in part}
        assert changed <= set(block.outputs), f"{block.fn.__qualname__} changes what it may not"
        checked += 1
    assert checked >= 40


def test_a_measurement_that_fails_leaves_a_sentence_in_its_panel_and_the_others_go_on(
    page, bench, monkeypatch
):
    session, _ = acts.first_session(("toy",), {})
    whole = WeightMetric.steps

    def failing(self, *given, **more):
        if key_of(self) == "spectrum":
            raise FloatingPointError("it melted")
        return whole(self, *given, **more)

    monkeypatch.setattr(WeightMetric, "steps", failing)
    on = Listeners(page, bench)
    found: dict = {}
    for part in answers(on.looks.look, session, "", HERE):
        found |= part if "__type__" not in part else {}
    drawn = {
        name: found[name] if isinstance(found[name], str) else found[name].to_json()
        for name in ("spectrum", "overlap")
    }
    assert "Measuring failed: FloatingPointError: it melted" in drawn["spectrum"]
    assert "failed" not in drawn["overlap"]
    assert not any("Measuring …" in text for text in drawn.values())
    assert json.loads(found["measuring"])["text"] == ""


def test_the_map_of_collisions_says_why_there_is_none(page, bench, monkeypatch):
    session, _ = acts.first_session(("toy",), {})
    monkeypatch.setattr(WeightMetric, "steps", lambda *_, **__: 1 / 0)
    desk = Drills(page, bench, Listeners(page, bench).tickets, visitor, Knocked(bench))
    *_, last = (part for part in answers(desk.show, session, "", HERE) if "collisions" in part)
    assert "Measuring failed: ZeroDivisionError" in last["collisions"].to_json()
    assert "Measuring …" not in last["collisions"].to_json()


def test_what_was_to_be_scored_says_that_it_was_not(page, bench, monkeypatch):
    session, _ = acts.first_session(("toy",), {})
    session = acts.perform(session, {"act": "method", "value": "task_arithmetic"})
    *_, run = bench.run(acts.state.recipe(session))
    gone = acts.perform(session, {"act": "knock", "value": "blob"})
    desk = Drills(page, bench, Listeners(page, bench).tickets, visitor, Knocked(bench))
    monkeypatch.setattr("viz.page.drill.knocked.score_steps", lambda *_, **__: 1 / 0)
    found: dict = {}
    for part in answers(desk.score, gone, f"{run.recipe.digest} blob", HERE):
        found |= part if "__type__" not in part else {}
    assert "not scored" in found["flips"]
    assert 'data-emit="score"' in found["flips"]
    assert "failed: ZeroDivisionError" in json.loads(found["knocking"])["text"]


def test_what_cannot_be_done_is_said_and_not_logged(page, bench, caplog):
    session, _ = acts.first_session(("toy",), {})
    on = Listeners(page, bench)
    desk = Compares(page, on)
    (found,) = desk.act(session, "", gr.EventData(None, {"act": "sort", "value": "nothing"}), HERE)
    assert "column" in json.loads(found["comparing"])["text"]
    assert not caplog.records


def test_closing_a_guarded_listener_closes_what_it_runs():
    closed = []

    class Desk:
        page = SimpleNamespace(fill=lambda parts: parts)

        @guarded("status", "Counting")
        def count(self):
            try:
                yield 1
                yield 2
            finally:
                closed.append(True)

    steps = Desk().count()
    assert next(steps) == 1
    steps.close()
    assert closed == [True]


def test_the_sentence_of_an_error():
    assert sentence(KeyError("x"), "It") == "It failed: KeyError: 'x'. The log has the details."
    assert inspect.isgeneratorfunction(Looks.look), "Gradio asks"
