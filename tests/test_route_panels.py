"""Panels of merges that decide per input: confusion, depth, gallery, one input, map of features."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from viz import examples
from viz.panel import draw, write
from viz.panels import manifold, route_confusion, route_depth, route_gallery, route_input
from viz.panels.manifold import FeatureMap
from viz.panels.route_confusion import RouteConfusion
from viz.panels.route_depth import RouteDepth, distinct
from viz.panels.route_gallery import Gallery, RoutedInput
from viz.panels.route_input import InputView, RouterView, why
from viz.pictures import data_uri

LONG = tuple(f"expert number {i} with a rather long name" for i in range(12))


def figures(panel, data, **options):
    """Return a panel's figures as dictionaries, by view."""
    return {view: json.loads(f.to_json()) for view, f in draw(panel, data, **options).figures.items()}
NASTY = '<b onmouseover="x">&</b>'


class Tags(HTMLParser):
    """The elements of some HTML, as (tag, attributes), and whether every one is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found, self.words, self._open = [], [], []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in ("img", "input", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag, **wanted):
        return [a for t, a in self.found if t == tag and all(a.get(k) == v for k, v in wanted.items())]


class TestConfusion:
    DATA = RouteConfusion(("ising", "a", "b"), ("a", "b"), np.array([[3, 1], [9, 1], [0, 0]]))

    def test_shares_are_of_a_task(self):
        percent = self.DATA.percent
        assert percent[:2].tolist() == [[75, 25], [90, 10]]
        assert np.isnan(percent[2]).all()
        assert self.DATA.right == 90

    def test_tasks_without_an_expert_come_last_after_a_gap(self):
        figure = figures(route_confusion, self.DATA)[""]
        heat = figure["data"][0]
        assert heat["y"] == ["a", "b", " ", "ising"]
        assert heat["text"] == [["90 %<br>9", "10 %<br>1"], ["", ""], ["", ""], ["75 %<br>3", "25 %<br>1"]]
        assert heat["customdata"][0][0] == "<b>a</b> sent to <b>a</b>, right<br>90.0 %, 9 of 10 inputs"
        assert heat["customdata"][0][1].startswith("<b>a</b> sent to <b>b</b>, wrong")
        assert "right" not in heat["customdata"][3][0]
        assert "wrong" not in heat["customdata"][3][0]
        assert figure["layout"]["meta"]["title"] == "Where inputs are sent, 90.0 % right"

    def test_right_cells_are_outlined(self):
        shapes = route_confusion.figure(self.DATA).layout.shapes
        assert [(s.x0, s.y0) for s in shapes if s.type == "rect"] == [(-0.5, -0.5), (0.5, 0.5)]

    def test_a_cell_says_task_and_expert(self):
        axes = figures(route_confusion, self.DATA)[""]["layout"]["meta"]["axes"]
        assert axes["x"] == [["a", {"expert": "a"}], ["b", {"expert": "b"}]]
        assert axes["y"] == [["a", {"task": "a"}], ["b", {"task": "b"}], ["ising", {"task": "ising"}]]

    def test_the_table_has_the_counts(self):
        columns, rows = route_confusion.rows(self.DATA)
        assert columns[:3] == ["task", "sent to", "inputs"]
        assert rows[:2] == [["ising", "a", 3, 75.0, "no"], ["ising", "b", 1, 25.0, "no"]]
        assert [r[:3] for r in rows[2:]] == [["a", "a", 9], ["a", "b", 1], ["b", "b", 0]]

    def test_from_scores(self):
        data = RouteConfusion.of({"a": {"a": 2, "b": 1}, "free": None, "new": {"b": 4}}, ("a", "b"))
        assert data.tasks == ("a", "new")
        assert data.counts.tolist() == [[2, 1], [0, 4]]
        assert len(RouteConfusion.of({"free": None}, ("a",))) == 0
        assert draw(route_confusion, RouteConfusion.of({}, ("a",))).to_json().count(route_confusion.EMPTY) == 1

    @pytest.mark.parametrize("experts", [("only",), LONG])
    def test_any_number_of_experts(self, experts):
        data = examples.route_confusion(experts, unseen=("new task", "other"))
        figure = figures(route_confusion, data)[""]
        assert "%<br>" in str(figure["data"][0]["text"]) or len(experts) > route_confusion.CELLS
        assert max(map(len, figure["layout"]["yaxis"]["ticktext"])) <= 12

    def test_only_tasks_without_an_expert(self):
        data = RouteConfusion(("new",), ("a", "b"), np.array([[1, 3]]))
        figure = figures(route_confusion, data)[""]
        assert figure["layout"]["meta"]["title"] == route_confusion.TITLE
        assert figure["data"][0]["y"] == ["new"]


class TestDepth:
    ROUTES = {  # noqa: RUF012
        "a": np.array([[[1.0, -0.5], [1.0, -0.5], [0.2, 0.4]], [[0.0, 0.5], [0.0, 0.5], [0.4, 0.6]]]),
        "b": np.array([[[0.1, 0.9], [0.1, 0.9], [0.0, 1.0]]]),
    }
    PLACES = ((0, "fc1"), (0, "fc2"), (1, "fc1"))

    def test_layers_that_are_always_alike_become_one(self):
        routes = list(self.ROUTES.values())
        assert distinct(routes, self.PLACES) == ([0, 2], ((0, ""), (1, "")))
        assert distinct([r[:, :2] for r in routes], self.PLACES[:2]) == ([0], ((None, ""),))
        assert distinct(routes, ((None, "patch"), (0, "q"), (0, "k"))) == ([1, 2], ((0, "q"), (0, "k")))
        assert distinct([], ()) == ([], ())

    def test_means_and_largest_by_task(self):
        data = RouteDepth.of(self.ROUTES, ("a", "b"), self.PLACES)
        assert data.inputs == (2, 1)
        assert data.mean[0].tolist() == [[0.5, 0.0], [pytest.approx(0.3), 0.5]]
        assert data.largest[0].tolist() == [[50, 50], [0, 100]]
        columns, rows = route_depth.rows(data, task="b")
        assert columns == ["inputs of", "number", "layer", "a", "b"]
        assert rows == [["b", 1, "block 0", 0.1, 0.9], ["b", 1, "block 1", 0.0, 1.0]]

    def test_all_tasks_or_one(self):
        data = RouteDepth.of(self.ROUTES, ("a", "b"), self.PLACES, level=0.3)
        own = figures(route_depth, data)["mean"]
        assert own["data"][0]["y"] == ["a", "b"]
        assert own["layout"]["meta"]["axes"] == {
            "x": [["block 0", {"block": 0}], ["block 1", {"block": 1}]],
            "y": [["a", {"task": "a"}], ["b", {"task": "b"}]],
        }
        one = figures(route_depth, data, task="a")["largest"]
        assert one["layout"]["meta"]["axes"]["y"][0] == ["a", {"expert": "a"}]
        assert one["layout"]["meta"]["title"] == "Routing of 2 inputs of a"
        assert "start .300" in [a["text"] for a in own["layout"]["annotations"]]

    def test_signed_weights_diverge_from_zero_and_shares_do_not(self):
        data = RouteDepth.of(self.ROUTES, ("a", "b"), self.PLACES)
        for view, low in (("mean", -1), ("largest", 0)):
            heat = route_depth.figure(data, view=view).data[0]
            assert np.sign(heat.zmin) == low
        positive = RouteDepth.of({"b": np.abs(self.ROUTES["b"])}, ("a", "b"), self.PLACES, signed=False)
        assert route_depth.figure(positive).data[0].zmin == 0

    def test_several_layers_in_a_block_stand_side_by_side(self):
        route = np.random.default_rng(0).random((3, 4, 2))
        places = tuple((b, k) for b in range(2) for k in ("q", "fc1"))
        figure = route_depth.figure(RouteDepth.of({"a": route}, ("a", "b"), places), task="a")
        assert list(figure.data[0].x) == ["block 0, q", "block 0, fc1", "after 0", "block 1, q", "block 1, fc1"]
        assert np.isnan(figure.data[0].z[:, 2]).all()
        assert figure.layout.meta["axes"]["x"][2] == ["block 1, q", {"block": 1, "kind": "q"}]

    def test_one_weight_for_all_layers_is_task_against_expert(self):
        route = np.repeat(np.random.default_rng(0).random((5, 1, 2)), 3, axis=1)
        data = RouteDepth.of({"a": route, "new": route}, ("a", "b"), self.PLACES, signed=False, level=0.5, word="even")
        assert data.places == ((None, ""),)
        for figure in figures(route_depth, data, task="a").values():
            assert figure["layout"]["meta"]["axes"]["y"] == [["a", {"task": "a"}], ["new", {"task": "new"}]]
        assert route_depth.rows(data)[1][0][2] == "all layers"

    def test_one_input(self):
        data = RouteDepth.of({"a": self.ROUTES["a"][:1]}, ("a", "b"), self.PLACES)
        (figure,) = figures(route_depth, data, task="a").values()
        assert figure["layout"]["meta"]["title"] == "Routing of one input of a"

    def test_tasks_without_an_expert_and_nothing_at_all(self):
        data = RouteDepth.of({"new": self.ROUTES["b"]}, ("a", "b"), self.PLACES)
        (figure,) = figures(route_depth, data).values()
        assert figure["data"][0]["y"] == ["a", "b"]
        nothing = RouteDepth.of({"a": self.ROUTES["a"][:0]}, ("a", "b"), self.PLACES)
        assert route_depth.EMPTY in draw(route_depth, nothing).to_json()

    @pytest.mark.parametrize("experts", [("only",), LONG])
    def test_any_number_of_experts(self, experts):
        for figure in figures(route_depth, examples.route_depth(experts), task=experts[0]).values():
            assert max(map(len, figure["layout"]["yaxis"]["ticktext"])) <= 12
            assert len(json.dumps(figure)) < 150_000


class TestGallery:
    PIXELS = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)

    def data(self, *picks):
        """Return inputs of task a with class c, from (task, picked, guess)."""
        inputs = [RoutedInput(t, i, self.PIXELS, "c", p, g) for i, (t, p, g) in enumerate(picks)]
        return Gallery(("a", "b"), tuple(inputs), "SiM")

    def test_pictures_are_png_data(self):
        for pixels in (self.PIXELS, self.PIXELS[..., 0]):
            kind, _, code = data_uri(pixels).partition(",")
            assert kind == "data:image/png;base64"
            assert (np.asarray(Image.open(io.BytesIO(base64.b64decode(code)))) == pixels).all()

    def test_right_and_wrong_differ_in_shape_sign_and_words(self):
        data = self.data(("a", "a", "c"), ("a", "a", "d"), ("a", "b", "c"), ("new", "b", "c"))
        assert [route_gallery.state(data, i) for i in data.inputs] == ["right", "class", "route", "none"]
        page = Tags(route_gallery.html(data))
        thumbs = page.all("label", **{"class": "ms-thumb"})
        assert [t["data-state"] for t in thumbs] == ["right", "class", "route", "none"]
        assert thumbs[2]["title"] == "a, c: sent to b, wrong route"
        assert len({sign for sign, _ in route_gallery.STATES.values()}) == 4
        assert "2 of 3 sent right" in "".join(page.words)

    def test_choosing_reports_the_input(self):
        page = Tags(route_gallery.html(self.data(("a", "a", "c"), ("a", "b", "c")), selected="a:1"))
        inputs = page.all("input", **{"data-emit": "input"})
        assert [i["value"] for i in inputs] == ["a:0", "a:1"]
        assert ["checked" in i for i in inputs] == [False, True]
        assert [i["value"] for i in page.all("input", name="ms-show")] == ["all", "route", "right"]

    def test_colours_are_those_of_the_experts(self):
        text = route_gallery.html(self.data(("a", "b", "c")), colors={"b": "var(--ms-expert-9)"})
        assert '<i style="background:var(--ms-expert-9)">' in text

    def test_everything_is_escaped(self):
        one = RoutedInput(NASTY, 0, NASTY, NASTY, NASTY, NASTY)
        text = write(route_gallery, Gallery((NASTY,), (one,), NASTY), selected=NASTY)
        assert not Tags(text).all("b", onmouseover="x")
        assert NASTY not in text

    def test_texts_stand_in_for_pictures(self):
        one = RoutedInput("a", 0, "a sentence that is much too long " * 9, "c", "a", "c")
        page = Tags(route_gallery.html(Gallery(("a",), (one,))))
        assert not page.all("img")
        assert max(len(w) for w in page.words if w.startswith("a sentence")) <= 56

    def test_nothing_to_show(self):
        assert route_gallery.EMPTY in write(route_gallery, self.data())


class TestInput:
    RESIDUAL = RouterView("SiM", "residual", np.array([0.3, 0.2, 0.6]), "b", "x")
    SOFTMAX = RouterView("Twin", "softmax", np.array([0.4, 0.35, 0.25]), "a", "c")
    WEIGHTS = RouterView("WEMoE", "weights", np.array([[1.0, 0.5, -1], [0.2, 0.5, 0], [2, 0, 0]]), None, "c")

    def data(self, *routers, task="a"):
        return InputView(task, 7, np.zeros((2, 2), np.uint8), "c", ("a", "b", "d"), ("c", "x", "y"), routers)

    def test_one_sentence_says_why(self):
        experts = ("a", "b", "d")
        assert why(self.RESIDUAL, experts, "b") == (
            "Its features lie closest to the support set of b: 0.20 against 0.30 for a."
        )
        assert why(self.RESIDUAL, experts, "d").endswith("Its own expert, d, comes third with 0.60.")
        assert why(self.SOFTMAX, experts, "a") == "No expert gets half: a has 0.40, b follows with 0.35."
        assert why(self.WEIGHTS, experts, "a").startswith(
            "a has the largest mean weight, 1.07, and leads in 2 of 3 layers."
        )
        assert "does not choose a head" in why(self.WEIGHTS, experts, "a")
        assert why(dataclasses.replace(self.RESIDUAL, values=np.full(3, np.nan)), experts, "a").endswith("not known.")

    def test_residuals_have_a_line_at_the_runner_up(self):
        text = route_input.html(self.data(self.RESIDUAL))
        assert text.count('<u style="left:50.0%"') == 3
        assert re.findall(r"width:([\d.]+)%", text) == ["50.0", "33.3", "100.0"]
        assert "<u" not in route_input.html(self.data(self.SOFTMAX))

    def test_routers_stand_side_by_side_with_their_predictions(self):
        page = Tags(route_input.html(self.data(self.RESIDUAL, self.SOFTMAX, self.WEIGHTS)))
        assert len(page.all("div", **{"class": "ms-router"})) == 4
        said = "".join(page.words)
        assert "sent to b, predicts x" in said
        assert "sent to a, predicts c, right class" in said
        assert "blended, predicts c, right class" in said

    def test_weights_are_strips_by_layer_around_zero(self):
        page = Tags(route_input.html(self.data(self.WEIGHTS)))
        cells = [a for a in page.all("i") if a.get("title", "").startswith("layer")]
        assert len(cells) == 9
        assert cells[0] == {"style": "background:var(--ms-div-6)", "data-top": None, "title": "layer 1: 1.00"}
        assert cells[6]["style"] == "background:var(--ms-div-2)"
        assert sum("data-top" in c for c in cells) == 3

    def test_a_task_without_an_expert(self):
        text = route_input.html(self.data(self.RESIDUAL, task="new"))
        assert "which has no expert" in text
        assert 'data-state="route"' not in text

    def test_missing_scores_and_one_expert(self):
        blank = RouterView("R", "residual", np.full(1, np.nan), None, "")
        strip = RouterView("W", "weights", np.full((2, 1), np.nan), None, "")
        one = InputView("a", 0, "some text", "c", ("a",), ("c",), (blank, strip))
        assert "nan" not in Tags(route_input.html(one)).words
        view = RouterView("R", "residual", np.array([0.5]), "a", "c")
        assert why(view, ("a",), "a") == "Its features lie closest to the support set of a."

    def test_everything_is_escaped(self):
        view = RouterView(NASTY, "softmax", np.array([1.0]), NASTY, NASTY)
        text = route_input.html(InputView(NASTY, 0, NASTY, NASTY, (NASTY,), (NASTY,), (view,)))
        assert not Tags(text).all("b", onmouseover="x")
        assert NASTY not in text


class TestFeatures:
    DATA = FeatureMap(
        ("a", "b", "new"), task=np.array([0, 0, 1, 1, 2]), routed=np.array([-1, 1, -1, 1, 0]),
        support=np.array([True, False, True, False, False]), index=np.array([0, 4, 0, 5, 6]),
        pca=np.arange(10.0).reshape(5, 2), explained=np.array([0.6, 0.3]),
    )  # fmt: skip

    def test_umap_has_a_view_once_it_is_ready(self):
        assert manifold.VIEWS(self.DATA) == {"pca": "PCA by task", "pca_routed": "PCA by route"}
        ready = dataclasses.replace(self.DATA, umap=-self.DATA.pca)
        assert list(manifold.VIEWS(ready)) == ["pca", "pca_routed", "umap", "umap_routed"]
        assert manifold.rows(ready, view="umap_routed")[1][1] == ["a", "test 4", "b", -2.0, -3.0]
        blind = dataclasses.replace(self.DATA, routed=np.full(5, -1))
        assert list(manifold.VIEWS(blind)) == ["pca"]

    def test_every_point_carries_its_number(self):
        for figure in figures(manifold, self.DATA).values():
            numbers = [n for t in figure["data"] for n in t["customdata"]]
            assert sorted(numbers) == [0, 1, 2, 3, 4]
            assert figure["layout"]["dragmode"] == "lasso"

    def test_colour_is_the_task_or_the_expert_sent_to(self):
        colors = {"a": "var(--ms-expert-5)", "b": "var(--ms-expert-6)", "new": "var(--ms-expert-7)"}
        by_task, by_route = (manifold.figure(self.DATA, view=v, colors=colors) for v in ("pca", "pca_routed"))
        colour = lambda f: {n: t.marker.color for t in f.data for n in t.customdata}  # noqa: E731
        assert [colour(by_task)[i] for i in range(5)] == [colors[t] for t in ("a", "a", "b", "b", "new")]
        assert [colour(by_route)[i] for i in range(5)] == [colors[t] for t in ("a", "b", "b", "b", "a")]
        assert by_task.data[0].meta == {"task": "a", "aside": True}
        assert by_route.data[0].meta == {"expert": "a", "aside": True}

    def test_support_test_and_wrong_look_different(self):
        assert self.DATA.wrong.tolist() == [False, True, False, False, False]
        traces = {n: t for t in manifold.figure(self.DATA).data for n in t.customdata}
        assert traces[0].marker.symbol == "x-thin"
        assert traces[3].marker.line.width == 0
        assert traces[1].marker.line.color == "var(--ms-ink)"
        said = lambda t: t.hovertemplate.replace("%{text}", t.text[0])  # noqa: E731
        assert said(traces[1]) == "<b>a</b>, test 4<br>sent to b<extra></extra>"
        assert said(traces[0]) == "<b>a</b>, support 0<extra></extra>"
        (mixed,) = (t for t in manifold.figure(self.DATA, view="pca_routed").data if t.customdata == (1,))
        assert said(mixed) == said(traces[1])

    def test_points_of_one_colour_keep_their_own_words(self):
        data = dataclasses.replace(self.DATA, routed=np.zeros(5, int), support=np.zeros(5, bool))
        (trace,) = manifold.figure(data, view="pca_routed").data
        assert trace.text == ("a, test 0", "a, test 4", "b, test 0", "b, test 5", "new, test 6")
        assert trace.hovertemplate == "%{text}<br>sent to a<extra></extra>"

    def test_axes_say_what_they_are(self):
        layout = manifold.figure(self.DATA).layout
        assert layout.xaxis.title.text == "direction 1, 60 % of the variance"
        ready = dataclasses.replace(self.DATA, umap=self.DATA.pca)
        assert "no unit" in manifold.figure(ready, view="umap").layout.yaxis.title.text

    def test_the_chosen_input_is_ringed(self):
        ring = manifold.figure(self.DATA, chosen=3).data[-1]
        assert (ring.x[0], ring.y[0]) == (6, 7)
        assert len(manifold.figure(self.DATA, chosen=99).data) == len(manifold.figure(self.DATA).data)

    def test_nothing_and_missing_numbers(self):
        none = np.zeros(0, int)
        empty = FeatureMap((), none, none, none.astype(bool), none, np.zeros((0, 2)), np.zeros(2))
        assert manifold.EMPTY in draw(manifold, empty).to_json()
        assert figures(manifold, dataclasses.replace(self.DATA, pca=np.full((5, 2), np.nan)))
        for experts in (("only",), LONG):
            assert figures(manifold, examples.features(experts, support=3, test=2))
