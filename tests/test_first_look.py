"""What the page opens with is read, not measured."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from merge_engine.metrics import measure
from merge_engine.places import matrices
from merge_engine.running import drive
from merge_engine.runs import first_look
from viz.page import acts
from viz.page.weights import lenses
from viz.page.weights.measure import Measures

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


def test_the_first_page_measures_nothing(shipped, bench_without_maths):
    session, _ = acts.first_session(("toy",), {})
    focus = lenses.focus_of(session, None)
    drawn = {}
    for parts in lenses.lens_steps(bench_without_maths, focus, lambda: True, set()):
        drawn |= parts
    for name in lenses.LENSES:
        assert '"empty"' not in drawn[name], name


@pytest.fixture
def bench_without_maths(monkeypatch):
    from viz.page.workbench import Workbench

    monkeypatch.setattr(Measures, "_begun", lambda *_: pytest.fail("measured"))
    return Workbench()


def test_other_experts_are_measured(toy, shipped):
    measures = Measures(None)
    session, _ = acts.first_session(("toy",), {})
    ask = lenses.ask(bench=None, focus=lenses.focus_of(session, None), name="overlap")
    assert measures.widest(ask) is not None
    assert measures.widest(dataclasses.replace(ask, experts=ask.experts[:2])) is None
