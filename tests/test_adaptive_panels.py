"""Panels of methods that adapt and blend: curves, masks, coefficients, energies."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from merge_engine.adapting.history import History
from merge_engine.adapting.live import Point
from merge_engine.routing.twin_energy import Energies
from viz import examples, theme
from viz.masks import MaskMap
from viz.panel import draw
from viz.panels import coefficient_map, live_accuracy, mask_map, twin_energy, twin_rank
from viz.panels.coefficient_map import CoefficientMap
from viz.panels.live_accuracy import LiveAccuracy
from viz.panels.twin_rank import RankCurve

LONG = tuple(f"expert number {i} with a rather long name" for i in range(12))


def figures(panel, data, **options):
    """Return a panel's figures as dictionaries, by view."""
    return {view: json.loads(f.to_json()) for view, f in draw(panel, data, **options).figures.items()}


def table(panel, data, **options):
    return panel.rows(data, **options)[1]



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


class TestMasks:
    START = np.array([[1, 1, 0, 0], [1, 1, 0, 0]], bool)
    NOW = np.array([[1, 0, 0, 1], [1, 1, 0, 0]], bool)
    DATA = MaskMap(("a", "b"), ((0, "q"), (1, "fc1")), (START, NOW), (START, START), 0.5, 7)

    def test_a_component_is_on_off_or_switched(self):
        figure = figures(mask_map, self.DATA, block=1, kind="fc1")["mask"]
        heat = figure["data"][0]
        assert heat["meta"]["words"] == ["off", "on", "switched off", "switched on"]
        assert mask_map.figure(self.DATA, block=1).data[0].z.tolist() == [[1, 2, 0, 3], [1, 1, 0, 0]]
        assert figure["layout"]["meta"]["title"] == "Masks over components, block 1, fc1, step 7"
        assert heat["x"] == ["1", "2", "3", "4"]

    def test_the_cut_of_a_fixed_rank_is_drawn(self):
        figure = mask_map.figure(self.DATA)
        assert [(s.x0, s.x1) for s in figure.layout.shapes] == [(1.5, 1.5)]
        assert "top-k keeps 2" in [a.text for a in figure.layout.annotations]
        assert not mask_map.figure(dataclasses.replace(self.DATA, top_k=1.0)).layout.shapes
        assert figure.data[2].y.tolist() == [100, 100, 0, 0]
        assert mask_map.figure(self.DATA, block=1).data[2].y.tolist() == [100, 50, 0, 50]

    def test_the_table_counts_the_masks(self):
        columns, rows = mask_map.rows(self.DATA, block=1)
        assert rows == [[7, "a", 4, 2, 50, 1, 1, 1, 4], [7, "b", 4, 2, 50, 0, 0, 0, 2]]
        assert len(columns) == 9
        assert mask_map.rows(self.DATA, view="kept")[1] == [[7, "0", "q", 50, 50], [7, "1", "fc1", 50, 50]]
        assert mask_map.rows(self.DATA, view="moved")[1][1] == [7, "1", "fc1", 50, 0]

    def test_several_steps_get_a_slider(self):
        first = dataclasses.replace(self.DATA, masks=(self.START, self.START), step=0)
        found = figures(mask_map, [first, self.DATA], block=1, kind="fc1")
        assert "film" not in figures(mask_map, [self.DATA])["mask"]["layout"]["meta"]
        film = found["mask"]["layout"]["meta"]["film"]
        assert (film["word"], film["names"]) == ("step", ["0", "7"])
        assert film["titles"][0] == "Masks over components, block 1, fc1, step 0"
        last = found["mask"]["data"]
        assert film["changes"][1]["data.0.z"] == last[0]["z"]
        assert film["changes"][1]["data.2.y"] == last[2]["y"]
        assert film["changes"][0]["data.0.z"] != last[0]["z"]
        for path, text in film["changes"][1].items():
            if "annotations" in path:
                assert found["mask"]["layout"]["annotations"][int(path.split(".")[2])]["text"] == text
        assert film["narrow"][0] == {"layout.annotations.1.text": "50 %", "layout.annotations.2.text": "50 %"}
        cells = found["moved"]["layout"]["meta"]["film"]["changes"]
        assert cells[1]["data.0.z"] == found["moved"]["data"][0]["z"]
        assert [row[0] for row in mask_map.rows([first, self.DATA], block=1)[1]] == [0, 0, 7, 7]

    def test_fused_attention_is_named(self):
        for places, name in (((0, "q"), (0, "k")), "q"), (((0, "q"), (1, "q")), "q, k and v"):
            data = dataclasses.replace(self.DATA, places=places)
            assert figures(mask_map, data, block=0, kind="q")["mask"]["layout"]["meta"]["title"].startswith(
                f"Masks over components, block 0, {name}, step"
            )

    def test_all_matrices_and_where_they_are(self):
        layout = figures(mask_map, self.DATA)["moved"]["layout"]
        assert layout["meta"]["axes"]["x"][1] == ["1", {"block": 1}]
        assert layout["meta"]["axes"]["y"][1] == ["fc1", {"kind": "fc1"}]
        cells = mask_map.figure(self.DATA, view="moved").data[0].z
        assert np.nan_to_num(cells, nan=-1).tolist() == [[0, -1], [-1, 25]]

    def test_the_nearest_matrix_is_shown(self):
        assert [self.DATA.index(*at) for at in ((1, "fc1"), (1, "q"), (9, "fc1"), (None, None))] == [1, 1, 1, 0]

    def test_bits_are_unpacked(self):
        start, now = ({"masks/n": np.packbits(masks, axis=1)} for masks in (self.START, self.NOW))
        history = History(("a", "b"), ranks={"n": 4}, steps=[0, 7], states=[start, {"coefficients": np.ones(2), **now}])
        data = MaskMap.of(history, 1, {"n": (3, "v")}, top_k=0.5)
        assert (data.masks[0] == self.NOW).all()
        assert (data.start[0] == self.START).all()
        assert data.places == ((3, "v"),)
        assert mask_map.EMPTY in draw(mask_map, MaskMap.of(History((), steps=[0]), 0, {}, top_k=1)).to_json()

    @pytest.mark.parametrize(("experts", "rank", "top_k"), [(("only",), 1, 1.0), (LONG, 768, 0.16), (("a",), 3, 0.0)])
    def test_any_size(self, experts, rank, top_k):
        data = examples.masks(experts, blocks=2, rank=rank, top_k=max(top_k, 1e-6))
        for figure in figures(mask_map, dataclasses.replace(data, top_k=top_k)).values():
            assert len(json.dumps(figure)) < 200_000
            ticks = figure["layout"]["xaxis"]["tickvals"]
            assert sorted(set(ticks)) == ticks


class TestCoefficients:
    PLACES = ((None, "embed"), (0, "q"), (0, "fc1"), (1, "q"))
    DATA = CoefficientMap(("a", "b"), PLACES, np.array([[1.0, 0.2, 0.4, 0.5], [0.0, 0.3, -0.5, 0.1]]),
                          np.full((2, 4), 0.3), 9)  # fmt: skip

    def test_a_block_is_the_mean_of_its_tensors(self):
        columns, rows = coefficient_map.rows(self.DATA)
        assert columns == ["where", "a", "b"]
        assert [row[0] for row in rows] == ["0", "1", "outside blocks"]
        assert rows[0][1:] == [pytest.approx(0.3), pytest.approx(-0.1)]
        assert coefficient_map.rows(self.DATA, view="change")[1][2][1:] == [pytest.approx(0.7), pytest.approx(-0.3)]

    def test_matrices_stand_side_by_side(self):
        figure = coefficient_map.figure(self.DATA, view="matrix")
        names = ["block 0, q", "block 0, fc1", "after 0", "block 1, q", "after 1", "outside blocks"]
        assert list(figure.data[0].x) == names
        assert figure.layout.meta["axes"]["x"][1] == ["block 0, fc1", {"block": 0, "kind": "fc1"}]
        assert [row[0] for row in coefficient_map.rows(self.DATA, view="matrix")[1]] == [
            n for n in names if not n.startswith("after")
        ]

    def test_colours_diverge_from_the_start(self):
        heat = coefficient_map.figure(self.DATA).data[0]
        assert heat.zmin + heat.zmax == pytest.approx(0.6)
        assert "start .300" in [a.text for a in coefficient_map.figure(self.DATA).layout.annotations]
        change = coefficient_map.figure(self.DATA, view="change").data[0]
        assert change.zmin == -change.zmax

    def test_several_steps_share_a_scale(self):
        start = dataclasses.replace(self.DATA, values=self.DATA.start, step=0)
        for view, figure in figures(coefficient_map, [start, self.DATA]).items():
            film = figure["layout"]["meta"]["film"]
            assert film["names"] == ["0", "9"]
            assert film["changes"][1]["data.0.z"] == figure["data"][0]["z"]
            assert film["changes"][1]["data.2.x"] == figure["data"][2]["x"]
            assert ("data.0.text" in film["changes"][0]) == (view != "matrix")
        late = coefficient_map.figure(self.DATA).data[0]
        assert coefficient_map.figure([self.DATA, start]).data[0].zmax == late.zmax

    def test_one_coefficient_for_all_tensors(self):
        data = CoefficientMap(("a", "b"), (), np.array([[0.2], [0.4]]), np.full((2, 1), 0.3))
        for figure in figures(coefficient_map, data).values():
            assert figure["data"][0]["x"] == ["all tensors"]
        assert coefficient_map.rows(data)[1] == [["all tensors", 0.2, 0.4]]

    def test_missing_numbers_leave_blanks(self):
        blank = dataclasses.replace(self.DATA, values=np.full((2, 4), np.nan), start=np.full((2, 4), np.nan))
        assert len(figures(coefficient_map, blank)) == 3
        assert coefficient_map.EMPTY in draw(coefficient_map, CoefficientMap((), (), *[np.zeros((0, 0))] * 2)).to_json()

    @pytest.mark.parametrize("experts", [("only",), LONG])
    def test_any_number_of_experts(self, experts):
        for figure in figures(coefficient_map, examples.coefficients(experts)).values():
            assert max(map(len, figure["layout"]["yaxis"]["ticktext"])) <= 12
            assert len(json.dumps(figure)) < 150_000


class TestTwinEnergy:
    DATA = Energies(("a", "b"), (0, 3), np.array([1.0, 2.0]), np.array([[4.0, 2.0], [6.0, 0.0]]),
                    np.array([[1.0, 2.0], [3.0, 0.0]]))  # fmt: skip

    def test_bars_are_one_expert_or_the_mean(self):
        heights = [t.y.tolist() for t in twin_energy.figure(self.DATA).data]
        assert heights == [[1, 2], [3, 3], [1.5, 1.5]]
        figure = twin_energy.figure(self.DATA, expert="b", colors={"b": "var(--ms-expert-7)"})
        assert [t.y.tolist() for t in figure.data] == [[1, 2], [2, 0], [2, 0]]
        assert figure.data[1].marker.color == "var(--ms-expert-7)"
        assert figure.layout.meta["title"].endswith(", b")
        assert figure.layout.meta["axes"]["x"] == [[0, {"block": 0}], [1, {"block": 3}]]
        assert "block %{customdata}" in figure.data[0].hovertemplate
        assert figure.data[0].customdata == ("0", "3")

    def test_what_compression_keeps(self):
        cells = twin_energy.figure(self.DATA, view="kept").data[0].z
        assert np.nan_to_num(cells, nan=-1).tolist() == [[25, 50], [100, -1]]
        assert twin_energy.rows(self.DATA, view="kept")[1][0] == ["0", 25, 100]
        assert twin_energy.rows(self.DATA)[1] == [["0", 1, 4, 1, 2, 2], ["3", 2, 6, 3, 0, 0]]

    @pytest.mark.parametrize("experts", [("only",), LONG])
    def test_any_size_and_missing_numbers(self, experts):
        data = examples.twin_energy(experts, blocks=32)
        blank = dataclasses.replace(data, **{n: getattr(data, n) * np.nan for n in ("shared", "exclusive", "kept")})
        for shown in (data, blank):
            assert len(figures(twin_energy, shown)) == 2
        nothing = Energies((), (), np.zeros(0), np.zeros((0, 0)), np.zeros((0, 0)))
        assert twin_energy.EMPTY in draw(twin_energy, nothing).to_json()


class TestTwinRank:
    DATA = RankCurve(("a", "b"), np.array([0.0, 0.5]), np.array([[40.0, 60.0], [70.0, 90.0]]), np.array([1e6, 3e6]),
                     0.5, {"experts": 95.0, "none": np.nan}, {"one model": 1.5e6})  # fmt: skip

    def test_accuracy_and_bytes_have_axes_of_their_own(self):
        figure = twin_rank.figure(self.DATA)
        assert [t.y.tolist() for t in figure.data] == [[40, 70], [60, 90], [50, 80], [1, 3]]
        assert [t.yaxis for t in figure.data] == [None, None, None, "y2"]
        assert figure.layout.yaxis2.overlaying is None
        assert [t["text"] for t in (figure.layout.xaxis.title, figure.layout.yaxis2.title)] == [
            "singular components that exclusive parts keep, %", "stored, MB",
        ]  # fmt: skip

    def test_references_and_the_chosen_rank(self):
        layout = twin_rank.figure(self.DATA).layout
        assert [(s.yref, s.y0) for s in layout.shapes] == [("y", 95), ("y2", 1.5), ("paper", 0)]
        words = [a.text for a in layout.annotations]
        assert words[-1] == "this merge, 50 %"
        assert {"<b>average 80.0</b>", "┄ experts", "┄ one model", "a", "b"} <= set(words)
        assert len(twin_rank.figure(dataclasses.replace(self.DATA, chosen=None)).layout.shapes) == 2

    def test_the_table_has_every_rank(self):
        assert twin_rank.rows(self.DATA) == (
            ["kept %", "average %", "bytes", "a %", "b %"], [[0, 50, 1e6, 40, 60], [50, 80, 3e6, 70, 90]],
        )  # fmt: skip

    def test_one_point_and_missing_numbers(self):
        one = RankCurve(("a",), np.array([0.1]), np.array([[np.nan]]), np.array([np.nan]))
        assert len(figures(twin_rank, one)) == 1
        for experts in (("only",), LONG):
            assert max(len(a.text) for a in twin_rank.figure(examples.rank_curve(experts)).layout.annotations) <= 30
