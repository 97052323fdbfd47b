"""What the page opens with is read, not measured."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest

from merge_engine.knock_out import singular_vectors
from merge_engine.maths.svd import SvdStore
from merge_engine.metrics import measure
from merge_engine.places import matrices
from merge_engine.running import drive
from merge_engine.runs import first_look, first_pair
from viz.page import acts
from viz.page.drill import drill
from viz.page.drill.knocked import Knocked
from viz.page.layout import build_page
from viz.page.listeners import Listeners
from viz.page.plotly_panel import PlotlyPanel
from viz.page.session import Session
from viz.page.weights import lenses
from viz.page.weights.measure import Measures
from viz.page.workbench import Workbench

KEY = "content"


@pytest.fixture
def shipped(toy, toy_by_name, tmp_path, monkeypatch):
    """The folder of shipped results, with the first look of the toy suite in it."""
    monkeypatch.setattr(first_look, "shipped_folder", lambda suite: tmp_path / suite)
    return drive(first_look.look_steps(toy, tmp_path / "toy"))


def test_a_measurement_comes_back_as_it_was(toy, tmp_path):
    block, kind = first_look.first_place(toy)
    taken = measure("spectrum", toy.problem(), names=matrices(toy, block, kind))
    file = tmp_path / "spectrum.npz"
    file.write_bytes(first_look.packed(taken, "spectrum", KEY))
    found = first_look.read(file, KEY)
    assert type(found) is type(taken)
    assert (found.models, found.rows) == (taken.models, taken.rows)
    for name in taken.quantities():
        np.testing.assert_allclose(getattr(found, name), getattr(taken, name), rtol=1e-6)


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"PK\x03\x04" + b[9:]])
def test_what_cannot_be_read_is_not_there(toy, shipped, damage):
    file = shipped[0]
    key = first_look._key(toy)
    assert first_look.read(file, key) is not None
    assert first_look.read(file, "other") is None
    file.write_bytes(damage(file.read_bytes()))
    assert first_look.read(file, key) is None
    assert first_look.read(file.with_name("nothing.npz"), key) is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_first_page_fills_every_panel_and_measures_nothing(shipped, bench_without_maths):
    bench = bench_without_maths
    with gr.Blocks():
        page = build_page(Session())
    found = panels_of(page, "merge")
    always = {name for name in found if "mp-if-known" not in " ".join(getattr(page, name).elem_classes)}
    assert {"accuracy", "interference", "spectrum", "overlap", "depths", "histogram", "collisions", "vectors"} == always
    assert list(bench.record.baseline_steps("toy", None, lambda: True)), "what ships beside the first look"
    on, request = Listeners(page, bench), SimpleNamespace(query_params={"suite": "toy"}, session_hash="me")
    opened = on.open(request)
    told = opened[page.session], opened[page.shown]
    known = {**opened}
    for parts in (*on.looks.look(*told, request), *map(page.fill, first_drill(bench, *told))):
        known |= parts if isinstance(parts, dict) and page.session not in parts else {}
    for name in always:
        figure = known[getattr(page, name)]
        text = figure if isinstance(figure, str) else figure.to_json()
        assert '"empty"' not in text, name


def panels_of(page, tab):
    """Return the names of the panels on a tab of the page."""
    found = [name for name in vars(page) if isinstance(getattr(page, name), PlotlyPanel)]
    return [name for name in found if tab in {getattr(above, "id", None) for above in parents(getattr(page, name))}]


def parents(component):
    while (component := component.parent) is not None:
        yield component


def first_drill(bench, session, shown):
    return drill.drill_steps(bench, Knocked(bench), session, shown, lambda: True)


@pytest.fixture
def bench_without_maths(monkeypatch):
    monkeypatch.setattr(Measures, "_begun", lambda self, ask, merged: pytest.fail(f"measured {ask}"))
    return Workbench(svd=lambda matrix: pytest.fail("decomposed"))


def test_the_vectors_of_the_first_pair_come_back_as_they_were(toy, shipped):
    place = first_look.first_place(toy)
    measured = first_look.stored(toy, "joint_overlap", *place)
    pair = first_pair.met_most(measured, *place)
    assert len(pair) == 2
    for one in pair:
        fresh = singular_vectors(toy.problem(), one, SvdStore(folder=None))
        for found, wanted in zip(first_look.stored_vectors(toy, one), fresh, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-6)
    other = dataclasses.replace(pair[0], index=pair[0].index + 7)
    assert first_look.stored_vectors(toy, other) is None
    (file,) = (file for file in shipped if file.name == first_pair.FILE)
    file.write_bytes(file.read_bytes()[:90])
    assert first_look.stored_vectors(toy, pair[0]) is None


def test_other_experts_are_measured(toy, shipped):
    measures = Measures(None)
    session, _ = acts.first_session(("toy",), {})
    ask = lenses.ask(bench=None, focus=lenses.focus_of(session, None), name="overlap")
    assert measures.widest(ask) is not None
    assert measures.widest(dataclasses.replace(ask, experts=ask.experts[:2])) is None
