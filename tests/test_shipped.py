"""What is shipped with the bundled suite is what the page opens with: nothing of it has to be measured."""

from __future__ import annotations

import pytest

from merge_engine.landscape.first import DETAIL, first_surveys
from merge_engine.maths.svd import SvdStore
from merge_engine.precision import KNOWN
from merge_engine.runs.first_sweeps import first_sweeps
from merge_engine.runs.sweep import Stored
from merge_engine.suite import BUNDLED, load_suite
from viz.page import acts
from viz.page.drill.drill import measured_of
from viz.page.sweep.sweeping import tab_parts
from viz.page.warm import draw_first
from viz.page.weights.measure import Measures
from viz.page.workbench import Workbench

NAME = "pictures"


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """The bundled suite, with a cache that knows nothing."""
    monkeypatch.setenv("MERGESCOPE_CACHE", str(tmp_path))
    monkeypatch.setenv("MERGESCOPE_SUITES", "")
    load_suite.cache_clear()
    assert (BUNDLED / NAME / "suite.toml").is_file()
    return load_suite(NAME)


@pytest.mark.parametrize("dtype", KNOWN.values(), ids=KNOWN)
def test_the_landscape_is_complete_in_every_precision(suite, dtype):
    missing = {type(survey).__name__: survey.missing(DETAIL) for survey in first_surveys(suite, dtype)}
    assert set(missing.values()) == {0}, missing


def test_every_panel_of_the_first_page_is_drawn_without_measuring(suite, monkeypatch):
    monkeypatch.setattr(Measures, "_begun", lambda self, ask, merged: pytest.fail(f"measured {ask}"))
    bench = Workbench(svd=SvdStore(folder=None))
    session, sorry = acts.first_session((NAME,), {})
    assert not sorry
    assert measured_of(bench, session) is not None
    assert draw_first(bench, session) is not None
    assert bench.svd.computed == 0
    assert not any(bench.record.baseline_steps(NAME, None, lambda: True)), "accuracy of the models alone"


@pytest.mark.parametrize("dtype", KNOWN.values(), ids=KNOWN)
def test_the_proposed_sweep_of_every_method_with_a_free_scaling_is_complete(suite, dtype):
    sweeps = first_sweeps(suite)
    missing = {one.recipe.method: len(one.visits()) - len(Stored(suite, one, dtype).points(one)) for one in sweeps}
    assert len(missing) >= 10, missing
    assert set(missing.values()) == {0}, missing


def test_the_tab_of_sweeps_opens_with_a_finished_one(suite):
    session, _ = acts.first_session((NAME,), {})
    words = tab_parts(Workbench(svd=SvdStore(folder=None)), session)["sweeping"]
    assert "Best of" in words, words
