"""Panels without a browser: figures as dictionaries."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib
import json
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plotly.offline import get_plotlyjs_version

import viz.panels
from merge_engine.metrics import metric_class, registry
from viz import demo, examples, heat, markup, places, theme
from viz.page.weights.pinned import with_pinned
from viz.panel import Drawing, draw, views, write
from viz.panels import accuracy, histogram, interference, method_table, overlap, overlap_depth, spectrum
from viz.panels.accuracy import TaskAccuracy
from viz.panels.interference import Interference
from viz.pin import Pin

ROOT = Path(__file__).parents[1]
EVERY = [m.name for m in pkgutil.iter_modules(viz.panels.__path__)]
HTML = {name: module for name in EVERY if hasattr(module := importlib.import_module(f"viz.panels.{name}"), "html")}
NAMES = [name for name in EVERY if name not in HTML]
PANELS = [importlib.import_module(f"viz.panels.{name}") for name in NAMES]
LONG = tuple(f"expert number {i} with a rather long name" for i in range(12))
LIMIT, FILM = 150_000, 200_000  # characters; a film has a dozen states of its figure
STANDARD = {"__future__", "collections", "dataclasses", "html", "math", "textwrap", "typing"}


def everything(experts=examples.EXPERTS, blocks=12):
    """Return data for every panel, as (panel, data) pairs."""
    conflict = examples.sign_conflict(experts, blocks=blocks)
    lensed = [
        (examples.cosine(experts, blocks=blocks), "cosine"),
        (examples.norms(experts, blocks=blocks), "norms"),
        (conflict, "sign_conflict"),
        (examples.subspaces(experts, blocks=blocks), "subspace"),
    ]
    scores = [TaskAccuracy(e, 60 + i, 90, 40, (55 + i, 66 + i), 32, 500) for i, e in enumerate(experts)]
    points = [method_table.MethodPoint(e, e, "Spectral", 50 + i, 1e6, 2 + i) for i, e in enumerate(experts)]
    return [
        (accuracy, scores),
        (spectrum, examples.spectrum(experts, blocks=blocks, rank=384)),
        (overlap, lensed[-1][0]),
        (overlap_depth, lensed[-1][0]),
        (histogram, conflict),
        (method_table, points),
        *((interference, Interference(measured, metric_class(key))) for measured, key in lensed),
    ]


def without_numbers(data):
    """Return the same data with every number missing."""
    if isinstance(data, Interference):
        return dataclasses.replace(data, measured=without_numbers(data.measured))
    if isinstance(data, list):
        return [dataclasses.replace(d, merged=None, expert=float("nan"), interval=None) for d in data]
    blank = {name: np.full_like(getattr(data, name), np.nan) for name in data.quantities()}
    return dataclasses.replace(data, **blank)


def figures(drawing: Drawing):
    return [json.loads(figure.to_json()) for figure in drawing.figures.values()]


@pytest.mark.parametrize("panel", PANELS, ids=NAMES)
def test_a_panel_is_words_and_pure_functions(panel):
    assert panel.__doc__
    assert panel.TITLE
    assert panel.ABOUT.endswith(".")
    assert panel.EMPTY.endswith(".")
    assert len(panel.TITLE) <= 40
    assert len(panel.ABOUT) <= 260
    drawing = draw(panel, panel.demo())
    filmed = any("film" in figure.layout.meta for figure in drawing.figures.values())
    assert len(drawing.to_json()) < (FILM if filmed else LIMIT)
    for figure in figures(drawing):
        meta = figure["layout"]["meta"]
        assert meta["panel"] == panel.__name__.rpartition(".")[2]
        assert meta["title"]
        assert meta["about"]
        assert meta["table"]["rows"]
        assert {len(row) for row in meta["table"]["rows"]} == {len(meta["table"]["columns"])}


@pytest.mark.parametrize("panel", PANELS, ids=NAMES)
def test_the_house_style_holds(panel):
    for figure in figures(draw(panel, panel.demo())):
        text, layout = json.dumps(figure), figure["layout"]
        assert not re.search(r'"#[0-9a-fA-F]{3,8}"|rgba?\(', text), "colours are CSS variables"
        assert len(json.dumps(layout["template"])) < 100
        assert layout["height"] <= 520
        assert not layout["showlegend"]
        titled = [name for name in layout if "axis" in name and layout[name].get("title", {}).get("text")]
        assert titled, "an axis says what is shown"
        for trace in figure["data"]:
            assert trace["type"] in {"scatter", "heatmap", "bar"}
            assert not trace.get("showscale")


@pytest.mark.parametrize("panel", PANELS, ids=NAMES)
def test_a_figure_that_plotly_does_not_check_is_the_same(panel, monkeypatch):
    checked = figures(draw(panel, panel.demo()))
    monkeypatch.setattr(theme, "CHECKED", False)
    for one, other in zip(figures(draw(panel, panel.demo())), checked, strict=True):
        one["layout"] = {key: value for key, value in one["layout"].items() if value != []}  # which plotly leaves out
        assert one == other


def test_tests_check_what_figures_ask_plotly_for():
    with pytest.raises(ValueError, match="Invalid property"):
        theme.figure(height=100, dragmod=False)


@pytest.mark.parametrize("name", HTML)
def test_a_panel_of_html_is_words_and_a_pure_function(name):
    panel = HTML[name]
    assert panel.__doc__
    assert panel.EMPTY.endswith(".")
    assert len(panel.TITLE) <= 40
    assert len(panel.ABOUT) <= 260
    text = write(panel, panel.demo())
    assert text == write(panel, panel.demo())
    assert f'data-panel="{name}"' in text
    assert len(text) < LIMIT
    assert not re.search(r'style="[^"]*(#[0-9a-fA-F]{3}|rgb)|<script|https?:', text), "colours are CSS variables"
    assert panel.EMPTY in write(panel, None)


@pytest.mark.parametrize("name", EVERY)
def test_a_panel_imports_only_numpy_plotly_and_viz(name):
    tree = ast.parse((ROOT / "viz" / "panels" / f"{name}.py").read_text())
    lazy = {n for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for n in ast.walk(node)}
    lazy |= {n for node in tree.body if isinstance(node, ast.If) for n in ast.walk(node)}
    modules = set()
    for node in ast.walk(tree):
        if node not in lazy and isinstance(node, ast.Import):
            modules |= {alias.name.split(".")[0] for alias in node.names}
        elif node not in lazy and isinstance(node, ast.ImportFrom):
            modules.add(node.module.split(".")[0])
    assert modules <= STANDARD | {"numpy", "plotly", "viz"}


def test_a_cosine_has_one_kind_of_scale_whatever_its_sign():
    measured = examples.cosine()
    upward = dataclasses.replace(measured, cosine=np.abs(measured.cosine))
    for each in (measured, upward):
        cells = interference.figure(Interference(each, metric_class("cosine")), view="cosine").data[0]
        assert cells.zmin == -cells.zmax
        assert [list(pair) for pair in cells.colorscale] == theme.DIVERGING


@pytest.mark.parametrize("panel", PANELS, ids=NAMES)
@pytest.mark.parametrize("nothing", [None, [], ()], ids=str)
def test_nothing_to_show_is_a_sentence(panel, nothing):
    drawing = draw(panel, nothing)
    (figure,) = figures(drawing)
    assert figure["layout"]["meta"]["empty"] == panel.EMPTY
    assert not figure["data"]


@pytest.mark.parametrize(
    "experts", [("only",), ("one", "two"), LONG], ids=["one expert", "two experts", "twelve long names"]
)
def test_any_number_of_experts(experts):
    for panel, data in everything(experts):
        drawing = draw(panel, data, **({"block": 3, "kind": "q"} if panel in (spectrum, overlap) else {}))
        assert max(len(f.to_json()) for f in drawing.figures.values()) < LIMIT
        for figure in figures(drawing):
            words = [a["text"] for a in figure["layout"].get("annotations", []) if panel is not method_table]
            for name, axis in figure["layout"].items():
                words += axis.get("ticktext", []) if "axis" in name else []
            assert max(map(len, words)) <= 30


def test_missing_numbers_leave_blanks():
    for panel, data in everything(blocks=2):
        if panel is method_table:
            continue
        for figure in figures(draw(panel, without_numbers(data))):
            cells = [cell for row in figure["layout"]["meta"]["table"]["rows"] for cell in row]
            assert all(cell is None or isinstance(cell, str | int | float) for cell in cells)


@pytest.mark.parametrize("key", [k for k, cls in registry().items() if "row" in str(cls.produces.quantities())])
def test_every_measurement_of_weights_can_be_drawn(key):
    cls = metric_class(key)
    measured = filled(cls.produces)
    data = Interference(measured, cls)
    if not views(interference, data):
        pytest.skip("only curves")
    drawing = draw(interference, data, block=1, kind="fc1")
    assert next(iter(drawing.figures)) == cls.headline or cls.headline not in drawing.figures
    assert len(drawing.to_json()) < 4 * LIMIT


def filled(cls):
    """Return a measurement of some class with random numbers in every array."""
    sizes = {"row": len(examples.rows(4)), "expert": 5, "other": 5, "index": 6, "across": 6}
    random = np.random.default_rng(0)
    arrays = {n: random.random(tuple(sizes[a] for a in q.axes)) for n, q in cls.quantities().items()}
    return cls(examples.EXPERTS[:5], examples.rows(4), **arrays)


def test_accuracy_puts_the_average_first_and_unseen_tasks_last():
    seen = [TaskAccuracy("a", 60, 90, 40), TaskAccuracy("b", 80, 90, 40)]
    data = [TaskAccuracy("ising", 50, None, 45, seen=False), *seen]
    (figure,) = figures(draw(accuracy, data))
    assert figure["layout"]["yaxis"]["ticktext"] == ["<b>average</b>", "a", "b", "ising"]
    assert [address for _, address in figure["layout"]["meta"]["axes"]["y"]] == [
        {"expert": "a"},
        {"expert": "b"},
        {"task": "ising"},
    ]
    assert accuracy.average(data).merged == 70


def test_the_average_waits_for_all_seen_tasks():
    data = [TaskAccuracy("a", 60, 90, 40), TaskAccuracy("b", None, 90, 40)]
    mean = accuracy.average(data)
    assert (mean.merged, mean.expert, mean.pretrained) == (None, 90, 40)


def test_partial_scores_look_provisional():
    done, so_far = TaskAccuracy("a", 60, interval=(55, 65), done=9, total=9), TaskAccuracy("b", 60, done=3, total=9)
    (figure,) = figures(draw(accuracy, [done, so_far]))
    dots = next(t for t in figure["data"] if t.get("name") == "merged")
    assert dots["marker"]["color"] == [theme.SURFACE, theme.MERGED, theme.SURFACE]
    assert "estimate so far: 3 of 9" in dots["hovertext"][2]
    numbers = next(t["text"] for t in figure["data"] if t.get("mode") == "text")
    assert numbers[1] == "\u00a060.0"
    assert numbers[2] == "\u00a0≈ 60.0"


def test_spectrum_marks_the_rank_and_the_cut():
    data = examples.spectrum(("a", "b"), rank=64)
    drawing = draw(spectrum, data, block=1, kind="v", cut=8, view="energy")
    assert drawing.view == "energy"
    assert list(drawing.figures) == ["values", "energy"]
    for figure in figures(drawing):
        assert figure["layout"]["meta"]["title"] == "Spectrum of block 1, v"
        assert [t["meta"]["expert"] for t in figure["data"][:-1]] == ["a", "b", "merged"]
        rings = figure["data"][-1]["x"]
        assert rings == [int(r) for r in data.rank[places.row(data, 1, "v")]]
        assert any("rank kept, 8" in a["text"] for a in figure["layout"]["annotations"])
        assert any(s["x0"] == 8.5 for s in figure["layout"]["shapes"])


def test_the_spectrum_of_a_pinned_merge_stands_beside_the_other():
    data, other = examples.spectrum(("a", "b"), rank=64), examples.spectrum(("a", "b"), rank=64)
    other = dataclasses.replace(other, **{n: 0.5 * getattr(other, n) for n in ("singular_values", "energy")})
    both = with_pinned(data, other)
    assert both.models == ("a", "b", "merged", "pinned as A")
    assert with_pinned(data, other, "B").models[-1] == "pinned as B"
    assert np.array_equal(both.singular_values[:, :3], data.singular_values)
    assert np.array_equal(both.singular_values[:, 3], other.singular_values[:, 2])
    assert np.array_equal(both.rank[:, 3], other.rank[:, 2])
    (values, _) = figures(draw(spectrum, both, block=1, kind="v"))
    merged, pinned = values["data"][2:4]
    assert pinned["meta"]["expert"] == "pinned as A"
    assert pinned["line"]["color"] == merged["line"]["color"]
    assert pinned["line"]["dash"]
    alone = with_pinned(examples.spectrum(("a", "b"), rank=64, merged=False), other)
    assert alone.models == ("a", "b", "pinned as A")


@pytest.mark.parametrize("key", ["sar", "svc_coefficients", "mask_counts"])
def test_interference_of_a_merge_is_compared_with_a_pinned_one(key):
    cls = metric_class(key)
    measured = filled(cls.produces)
    shift = {n: getattr(measured, n) - 0.25 for n in measured.quantities()}
    alone = draw(interference, Interference(measured, cls))
    both = draw(interference, Interference(measured, cls, Pin("B", dataclasses.replace(measured, **shift))))
    assert set(both.figures) == {n + end for n in alone.figures for end in ("", interference.CHANGE)}
    for name in alone.figures:
        change = both.figures[name + interference.CHANGE]
        cells = np.array([z for z in np.ravel(change.data[0].z).astype(float) if np.isfinite(z)])
        assert cells == pytest.approx(0.25)
        assert change.data[0].zmin == -change.data[0].zmax
        said = interference.LESS.format("B")
        assert said in change.layout.meta["about"]
        assert said not in both.figures[name].layout.meta["about"]
        assert both.labels[name + interference.CHANGE].endswith("− B")
        assert np.array_equal(both.figures[name].data[0].z, alone.figures[name].data[0].z, equal_nan=True)


def test_a_low_rank_merge_ends_its_line():
    data = examples.spectrum(("a",), rank=32)
    s = np.array(data.singular_values)
    s[:, 1, 10:] = 0
    (figure, _) = figures(draw(spectrum, dataclasses.replace(data, singular_values=s)))
    assert figure["layout"]["yaxis"]["range"][0] > -4, "zeros would stretch a logarithmic axis"


@pytest.mark.parametrize(("panel", "data"), [(overlap, examples.subspaces()), (overlap_depth, examples.subspaces())])
def test_chance_is_drawn_and_the_diagonal_left_out(panel, data):
    for figure in figures(draw(panel, data)):
        layout = figure["layout"]
        assert layout["shapes"][-1]["x0"] in (0, pytest.approx(48 / 384, rel=0.05))
        assert layout["annotations"][-1]["text"].startswith("chance .")
        low, high = layout["xaxis2"]["range"]
        assert all(low <= shape["x0"] <= high for shape in layout["shapes"])
    if panel is overlap:
        assert panel.figure(data).data[0].text[0][0] == ""


def test_matrices_of_other_shapes_have_chance_levels_of_their_own():
    (left, right, *_) = figures(draw(overlap_depth, examples.subspaces()))
    assert [a["text"] for a in left["layout"]["annotations"]] == ["chance .031 fc1", "chance .125 others"]
    assert [a["text"] for a in right["layout"]["annotations"]] == ["chance .125"]
    assert heat.levels(np.array([[0.1], [0.2], [0.3], [0.4]]), "abcd") == ((0.25, ""),)
    assert heat.levels(np.full((2, 1), np.nan), "ab") == ()


def test_signed_numbers_diverge_from_zero_and_shares_from_chance():
    signed = heat.Scale.of(np.array([-0.1, 0.3]), "cosine")
    assert signed.centre == 0
    assert signed.low == -signed.high
    assert signed.colors == theme.DIVERGING
    around = heat.Scale.of(np.array([0.5, 0.7]), "agreement", chance=((0.5, ""),), centre=0.5)
    assert (around.low, around.high) == pytest.approx((0.3, 0.7))
    plain = heat.Scale.of(np.array([0.1, 0.9]), "share", chance=((0.95, ""),))
    assert (plain.low, plain.high, plain.colors) == (0.0, 0.95, theme.SEQUENTIAL)
    assert heat.Scale.of(np.array([np.nan]), "nothing").high > 0
    assert heat.Scale.of(np.array([2.0, 2.0]), "one value").high > 2


@pytest.mark.parametrize(
    ("value", "text"), [(0.314, ".31"), (-0.05, "−.05"), (-0.001, ".00"), (1.5, "1.50"), (np.nan, ""), (0, ".00")]
)
def test_numbers_in_cells(value, text):
    assert heat.number(value) == text


def test_places_fall_back_to_the_nearest_row():
    data = examples.cosine(("a", "b"), blocks=2)
    say = lambda *at: places.words(data, places.row(data, *at))  # noqa: E731
    assert say(1, "q") == "block 1, q"
    assert say(1) == "block 1"
    assert say(None, "fc1") == "all fc1 matrices"
    assert say() == "all matrices" == say(None, "bias")
    assert say(1, "bias") == "block 1"
    assert say(9, "q") == "all q matrices"
    blocks, kinds, cells = places.grid(data, data.cosine)
    assert (blocks, kinds, cells.shape) == ([0, 1], list(places.KINDS), (6, 2, 2, 2))


def test_the_selected_place_travels_with_the_figure():
    drawing = draw(overlap, examples.subspaces(), selected={"block": 3, "kind": "q"})
    assert all(f["layout"]["meta"]["selected"] == {"block": 3, "kind": "q"} for f in figures(drawing))


def test_the_front_is_what_nothing_cheaper_beats():
    cost, accuracies = np.array([1, 1, 2, 3, 4]), np.array([50, 60, 55, 70, 70])
    assert method_table.frontier(cost, accuracies) == [1, 3]


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=14), st.floats(0.01, 2))
def test_spread_keeps_order_distance_and_bounds(values, gap):
    placed = np.array(theme.spread(values, gap, -4, 4))
    apart = min(gap, 8 / max(1, len(values) - 1))
    assert (placed >= -4 - 1e-9).all()
    assert (placed <= 4 + 1e-9).all()
    order = np.argsort(values, kind="stable")
    assert (np.diff(placed[order]) >= apart - 1e-6).all()


def test_short_names_still_differ():
    assert theme.shorts(("digits", "fashion"), 12) == ["digits", "fashion"]
    assert len(set(theme.shorts(LONG, 9))) == 12


def test_experts_keep_their_colour_when_some_are_left_out():
    whole = theme.colors(examples.EXPERTS)
    (figure, _) = figures(draw(spectrum, examples.spectrum(("icons", "emoji"), merged=False), colors=whole))
    assert [t["line"]["color"] for t in figure["data"] if t["mode"] == "lines"] == [whole["icons"], whole["emoji"]]
    assert len(set(theme.colors(LONG).values())) == 12


def test_every_colour_exists_in_light_and_dark():
    css = (ROOT / "assets/css/tokens.css").read_text()
    light, dark = css.split(".dark {")
    used = {v for p in (ROOT / "viz").rglob("*.py") for v in re.findall(r"var\((--ms-[\w-]+)\)", p.read_text())}
    used = {v for v in used if "{" not in v} | {c[4:-1] for c in theme.EXPERTS}
    used |= {c[4:-1] for scale in (theme.SEQUENTIAL, theme.DIVERGING) for _, c in scale}
    for name in used - {"--ms-font"}:
        assert (f"{name}:" in light, f"{name}:" in dark) == (True, True), name


def test_the_bundle_is_the_one_that_plotly_speaks():
    folder = ROOT / "assets/vendor"
    bundle = (folder / "plotly-cartesian.min.js").read_bytes()
    digest = (folder / "plotly-cartesian.sha256").read_text().split()[0]
    assert hashlib.sha256(bundle).hexdigest() == digest
    assert f"plotly.js (cartesian - minified) v{get_plotlyjs_version()}".encode() in bundle[:200]
    assert "MIT License" in (folder / "plotly-cartesian.LICENSE").read_text()


def test_scripts_are_small_and_stay_at_home():
    for name in markup.SCRIPTS[1:] + markup.STYLES:
        text = (ROOT / name).read_text()
        assert text.count("\n") < 300, name
        assert not re.search(r"https?://|//cdn|@import", text), name
    panel = (ROOT / "assets/js/panel.js").read_text()
    assert 'modeBarButtonsToRemove: ["sendChartToCloud"]' in panel
    assert "displaylogo: false" in panel


def test_the_demonstration_page_holds_its_panels(capsys, monkeypatch):
    page = demo.page("accuracy", "overlap", "route_gallery")
    assert page.count('class="ms-panel"') == 3
    assert page.count("ms-plot") == 2
    assert "plotly-cartesian.min.js" in page
    demo.show("accuracy")
    assert capsys.readouterr().out.startswith("file:///")
