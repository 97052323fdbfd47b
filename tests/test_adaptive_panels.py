"""Panels of methods that adapt and blend: curves, masks, coefficients, energies."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from merge_engine.live import Point
from viz import examples, theme
from viz.panel import draw
from viz.panels import live_accuracy
from viz.panels.live_accuracy import LiveAccuracy

LONG = tuple(f"expert number {i} with a rather long name" for i in range(12))


def figures(panel, data, **options):
    """Return a panel's figures as dictionaries, by view."""
    return {view: json.loads(f.to_json()) for view, f in draw(panel, data, **options).figures.items()}


def table(panel, data, **options):
    return panel.rows(data, **options)[1]


def numbers(figure):
    """Return all arrays of numbers that a figure draws."""
    for trace in figure.data:
        for key in ("x", "y", "z"):
            values = trace[key]
            if values is not None and len(values) and not isinstance(np.ravel(values)[0], str):
                yield np.asarray(values, float)


class TestLiveAccuracy:
    def test_one_point_is_enough(self):
        data = LiveAccuracy.of([Point(0, 0.0, None, {"a": 50.0, "b": 60.0})], ("a", "b"), total=40)
        for figure in figures(live_accuracy, data).values():
            assert figure["layout"]["xaxis"]["range"][1] > 40
            assert figure["layout"]["meta"]["title"].endswith("step 0 of 40")
        assert data.average.tolist() == [55.0]
        assert table(live_accuracy, data) == [[0, 0.0, 55.0, None, 50.0, 60.0]]
        assert live_accuracy.remark(data) == ""

    def test_it_grows_with_the_run(self):
        points = [Point(s, s / 2, 1 - s / 100, {"a": 50.0 + s}) for s in range(4)]
        data = LiveAccuracy.of(points, ("a", "b"))
        assert data.entropy.tolist() == [1.0, 0.99, 0.98, 0.97]
        assert np.isnan(data.accuracy[:, 1]).all()
        assert data.average.tolist() == [50, 51, 52, 53]
        assert [row[3] for row in table(live_accuracy, data)] == [1.0, 0.99, 0.98, 0.97]

    def test_the_best_step_is_not_the_headline(self):
        data = LiveAccuracy(("a",), np.array([0, 5, 9]), np.array([[50.0], [61.25], [40.0]]))
        assert live_accuracy.best(data) == 1
        said = live_accuracy.remark(data)
        assert said.startswith("Step 5 reached 61.2 %, 21.2 points above the last step")
        assert "not the headline" in said
        for figure in figures(live_accuracy, data).values():
            assert said in figure["layout"]["meta"]["about"]
            assert sum("best, not the result" in a["text"] for a in figure["layout"]["annotations"]) == 1
        assert "<b>average 40.0</b>" in str(figures(live_accuracy, data)["accuracy"]["layout"]["annotations"])

    def test_a_rising_curve_has_no_remark(self):
        data = LiveAccuracy(("a",), np.array([0, 5]), np.array([[50.0], [60.0]]))
        assert live_accuracy.best(data) is None
        assert live_accuracy.figure(data).layout.meta["about"] == live_accuracy.ABOUT

    def test_entropy_has_a_strip_of_its_own(self):
        for figure in figures(live_accuracy, examples.live_accuracy()).values():
            layout = figure["layout"]
            assert layout["yaxis2"]["domain"][1] < layout["yaxis"]["domain"][0]
            assert "overlaying" not in layout["yaxis2"]
            assert layout["yaxis2"]["title"]["text"] == "entropy, nats"

    def test_many_updates_are_averaged(self):
        entropy = np.arange(1001, dtype=float)
        data = dataclasses.replace(examples.live_accuracy(), entropy=entropy, entropy_steps=np.arange(1, 1002))
        trace = live_accuracy.figure(data).data[-1]
        assert len(trace.x) <= live_accuracy.SMOOTH
        assert trace.y[0] == entropy[:6].mean()
        assert (trace.x[0], trace.x[-1]) == (6, 1001)
        assert "mean of 6 updates" in trace.hovertemplate

    def test_references_are_lines_with_names(self):
        data = dataclasses.replace(examples.live_accuracy(), references={"experts": 90.0, "none": float("nan")})
        layout = figures(live_accuracy, data)["accuracy"]["layout"]
        assert [s["y0"] for s in layout["shapes"]] == [90.0]
        assert "┄ experts" in [a["text"] for a in layout["annotations"]]
        assert [s["y0"] for s in figures(live_accuracy, data)["change"]["layout"]["shapes"]] == [0.0]

    @pytest.mark.parametrize("experts", [("only",), LONG])
    def test_any_number_of_tasks_with_the_colours_of_the_page(self, experts):
        colors = theme.colors(["first", *experts])
        figure = live_accuracy.figure(examples.live_accuracy(experts), colors=colors)
        lines = {t.meta["expert"]: t.line.color for t in figure.data if t.meta}
        assert lines == {e: colors[e] for e in experts}
        assert max(len(a.text) for a in figure.layout.annotations) <= 30

    def test_missing_numbers_leave_gaps(self):
        data = examples.live_accuracy(("a", "b"))
        blank = dataclasses.replace(data, accuracy=np.full_like(data.accuracy, np.nan), seconds=None)
        assert len(figures(live_accuracy, blank)) == 2
        assert table(live_accuracy, blank)[0][1:3] == [pytest.approx(np.nan, nan_ok=True)] * 2
