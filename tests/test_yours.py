"""A visitor's own picture: read safely, asked of every merge, router and expert, kept in memory alone."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import math
import struct
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import draw_plain_maps
from PIL import Image

from merge_engine.blind import answer_of, reply
from merge_engine.contract import Context
from merge_engine.embedding import pca
from merge_engine.errors import DataError, MergeError, SuiteError
from merge_engine.evaluate import Fixed, Model
from merge_engine.maths.svd import SvdStore
from merge_engine.routers import build
from merge_engine.runs.recipe import Recipe
from merge_engine.suite import load_suite
from merge_engine.suites.outside import LARGEST, picture_of, side_of
from viz.page import session
from viz.page.compare import comparison
from viz.page.inputs import sight
from viz.page.inputs.case import nearness
from viz.page.inputs.why import UNASKED
from viz.page.own import looks, pad, yours, yours_pictures
from viz.page.own.usual import farther, usual
from viz.page.session import Session, choose_suite
from viz.page.workbench import Workbench, paced
from viz.panel import draw, write
from viz.panels import manifold, route_input, yours_answer
from viz.panels.yours_answer import HeadLine, MergeLine, YoursAnswer

METHODS = {"task_arithmetic": {}, "sim": {"examples": 8, "rank": 4}, "smile": {}, "tall_mask": {}, "mass": {}}
NASTY = "<b onmouseover=x>'\"&"


def saved(image: Image.Image, kind: str = "PNG", **settings) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode()


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (32, 32), dtype=np.uint8)


def claiming(width: int, height: int) -> bytes:
    """Return a small PNG whose header claims any size."""
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"\0" * 99)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


class TestOutside:
    def test_a_picture_of_the_right_size_stays_as_it_is(self):
        grey, colour = picture(), np.random.default_rng(1).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        for pixels in (grey, colour):
            assert (picture_of(saved(Image.fromarray(pixels)), 32) == pixels).all()
            assert (picture_of(saved(Image.fromarray(pixels), "WEBP", lossless=True), 32) == pixels).all()

    def test_what_is_not_square_is_cut_or_gets_paper(self):
        wide = np.zeros((32, 96), np.uint8)
        wide[:, 32:64] = 200
        data = saved(Image.fromarray(wide))
        assert (picture_of(data, 32) == 200).all()
        kept = picture_of(data, 96, fit="pad", paper=255)
        assert kept.shape == (96, 96)
        assert (kept[:32] == 255).all()
        assert (kept[32:64] == wide).all()

    def test_resampling_is_that_of_pillow_over_the_covered_area(self):
        large = np.random.default_rng(2).integers(0, 255, (80, 80, 3), dtype=np.uint8)
        wanted = Image.fromarray(large).resize((32, 32), Image.Resampling.BICUBIC)
        assert (picture_of(saved(Image.fromarray(large)), 32) == np.asarray(wanted)).all()

    @pytest.mark.parametrize("paper", [0, 255])
    def test_what_is_transparent_shows_the_paper(self, paper):
        clear = np.zeros((32, 32, 4), np.uint8)
        clear[:16] = (10, 20, 30, 255)
        found = picture_of(saved(Image.fromarray(clear)), 32, paper=paper)
        assert (found[16:] == paper).all()
        assert (found[:16] == (10, 20, 30)).all()
        indexed = Image.new("P", (32, 32), 1)
        indexed.putpalette([0, 0, 0, 90, 90, 90])
        assert (picture_of(saved(indexed, transparency=1), 32, paper=paper) == paper).all()
        assert (picture_of(saved(indexed), 32, paper=paper) == 90).all()

    def test_sixteen_bits_become_eight(self):
        deep = (picture().astype(np.uint16) * 257).astype(np.uint16)
        assert (picture_of(saved(Image.fromarray(deep)), 32) == picture()).all()

    def test_a_photograph_stands_upright(self):
        pixels = np.zeros((32, 32), np.uint8)
        pixels[:8] = 255
        exif = Image.Exif()
        exif[0x0112] = 6
        turned = picture_of(saved(Image.fromarray(pixels), "JPEG", exif=exif, quality=100), 32)
        assert turned[:, 26:].mean() > 240
        assert turned[:, :20].mean() < 15

    def test_printers_colours_and_animations_are_read(self):
        assert picture_of(saved(Image.new("CMYK", (40, 40), (0, 255, 255, 0)), "JPEG"), 32).shape == (32, 32, 3)
        frames = [Image.new("L", (32, 32), level) for level in (50, 200)]
        moving = saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
        assert (picture_of(moving, 32) == 50).all()

    @pytest.mark.parametrize(
        ("data", "words"),
        [(b"", "cannot be read"), (b"<svg/>", "cannot be read"), (b"\x89PNG\r\n\x1a\n", "cannot be read"),
         (saved(Image.new("L", (64, 64)), "GIF"), "cannot"), (saved(Image.new("L", (64, 64)), "TIFF"), "cannot"),
         (saved(Image.fromarray(picture()))[:-400], "cannot be read"), (claiming(32, 32)[:-30], "cannot be read"),
         (claiming(60_000, 60_000), "pixels"), (claiming(5_000, 5_000), "pixels"), (b"\0" * (LARGEST + 1), "1 MB"),
         (claiming(0, 5), "cannot be read")],
    )  # fmt: skip
    def test_anything_else_is_one_sentence(self, data, words):
        with pytest.raises(DataError, match=words) as caught:
            picture_of(data, 32)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 160

    def test_a_strip_is_not_padded_without_bound(self):
        with pytest.raises(DataError, match="pixels"):
            picture_of(saved(Image.new("L", (60_000, 2))), 32, fit="pad")
        with pytest.raises(DataError, match="crop or pad"):
            picture_of(saved(Image.new("L", (4, 4))), 32, fit="squeeze")

    def test_only_pictures_have_a_side(self, toy):
        assert side_of(toy) == 32
        assert side_of(SimpleNamespace(backbone=SimpleNamespace())) is None


class TestBlind:
    def test_probability_and_uncertainty(self):
        for seed in range(5):
            logits = np.random.default_rng(seed).normal(0, 3, 7)
            p = np.exp(logits - logits.max())
            p /= p.sum()
            said = answer_of("a", torch.tensor(logits))
            assert said.guess == int(p.argmax())
            assert said.probability == pytest.approx(p.max())
            assert said.uncertainty == pytest.approx(-sum(v * math.log(v) for v in p) / math.log(7))
        assert answer_of("a", torch.zeros(4)).uncertainty == pytest.approx(1)
        assert answer_of("a", torch.zeros(1)).uncertainty == 0
        assert answer_of("a", torch.tensor([900.0, -900.0])).uncertainty == 0

    def test_one_model_answers_under_every_head(self, toy):
        inputs = toy.prepared("blob", "score")[:1]
        model = Model(Fixed(toy.pretrained_in_memory), toy)
        found = reply(model, inputs)
        assert (found.picked, found.route, found.told) == (None, None, False)
        assert {head.task for head in found.heads} == set(toy.tasks)
        shares = [head.uncertainty for head in found.heads]
        assert shares == sorted(shares)
        for task in toy.tasks:
            logits, _ = model(inputs, task)
            assert found.under(task) == answer_of(task, logits[0])
        assert found.under("moon") is None


class TestUsual:
    def test_support_inputs_are_left_out_of_the_fit_in_turn(self, toy):
        fitted = build("nearest_mean", examples=12).fit(toy.problem(), Context(svd=SvdStore(folder=None)))
        wanted = []
        for fold in range(8):
            held = [np.arange(12) % 8 == fold for _ in fitted.support]
            means = [z.numpy()[~out].mean(0) for z, out in zip(fitted.support, held, strict=True)]
            for z, out in zip(fitted.support, held, strict=True):
                wanted += [min(float(((row - mean) ** 2).sum()) for mean in means) for row in z.numpy()[out]]
        assert usual(fitted) == pytest.approx(sorted(wanted))

    def test_a_log_determinant_is_no_distance(self, toy):
        fitted = build("mahalanobis", examples=8).fit(toy.problem(), Context(svd=SvdStore(folder=None)))
        centre = fitted.scorer.centre
        found = nearness(fitted.scorer, fitted.scorer(centre))
        assert found.diagonal().abs().max() < 1e-6 * found.max()
        assert (usual(fitted) > 0).all()

    def test_shares(self):
        assert [farther(x, np.array([1.0, 2, 3, 4])) for x in (0, 2.5, 9)] == [0, 50, 100]


def test_other_points_find_their_place_on_a_map():
    features = np.random.default_rng(3).normal(size=(20, 6))
    found = pca(features)
    assert found.place(features) == pytest.approx(found.coordinates)
    middle = (features[3] + features[4]) / 2
    assert found.place(middle[None])[0] == pytest.approx(found.coordinates[3:5].mean(0))
    assert pca(np.ones((3, 4))).place(np.ones((1, 4))) == pytest.approx(np.zeros((1, 2)))


class TestPanel:
    HEADS = (HeadLine("a", "x", 0.9, 0.1), HeadLine("b", "y", 0.5, 0.8))

    def test_a_model_that_cannot_know_says_so(self):
        text = write(yours_answer, YoursAnswer(picture(), MergeLine("M", self.HEADS)))
        assert "cannot know which task" in text
        assert "Most certain is a with" in text
        assert "data-picked" not in text
        told = write(yours_answer, YoursAnswer(picture(), MergeLine("M", self.HEADS, told=True)))
        assert "told each task in turn" in told

    def test_the_chosen_head_comes_first(self):
        line = MergeLine("M", self.HEADS, "b", "b")
        assert line.first.answer == "y"
        text = write(yours_answer, YoursAnswer(picture(), line))
        assert "routed the picture to b" in text
        assert text.index(">y<") < text.index(">x<")
        assert text.count("data-picked") == 1

    def test_what_is_strange_is_said(self):
        one = YoursAnswer(picture(), MergeLine("M", self.HEADS))
        assert yours_answer.strange(one) == yours_answer.strange(dataclasses.replace(one, far=(1, 4))) == ""
        assert "3 of 4 routers find" in write(yours_answer, dataclasses.replace(one, far=(3, 4)))

    def test_everything_is_escaped(self):
        heads = (HeadLine(NASTY, NASTY, 0.5, 0.5),)
        line = MergeLine(NASTY, heads, NASTY, NASTY)
        assert NASTY not in write(yours_answer, YoursAnswer(picture(), line, (line,), NASTY, (1, 1)))
        assert NASTY not in write(yours_answer, YoursAnswer(picture(), None, absent=NASTY))

    def test_nothing_is_right_or_wrong_about_your_picture(self):
        view = dataclasses.replace(route_input.demo(), task="", label="")
        card = dataclasses.replace(view.routers[0], farther=97.2)
        text = write(route_input, dataclasses.replace(view, routers=(card, *view.routers[1:])))
        assert "right class" not in text
        assert "wrong class" not in text
        assert "ms-badge" not in text
        assert "your picture" in text
        assert "97 % of the support inputs lie closer to their nearest task" in text
        assert "The margin is 0.0" in text
        assert "The margin" not in write(route_input, route_input.demo())

    def test_the_map_has_a_star_on_its_linear_views(self):
        data = dataclasses.replace(manifold.demo(), yours=np.array([1.0, -2.0]))
        drawn = draw(manifold, data)
        star = drawn.figures["pca"].data[-1]
        assert (star.x[0], star.y[0], star.marker.symbol) == (1, -2, "star")
        assert drawn.figures["pca"].layout.annotations[-1].text == "yours"
        assert drawn.figures["pca"].layout.meta["table"]["rows"][-1][1] == "yours"
        assert "no place on this map yet" in drawn.figures["umap"].layout.meta["note"]
        assert all(trace.marker.symbol != "star" for trace in drawn.figures["umap"].data)
        placed = draw(manifold, dataclasses.replace(data, yours_near=np.array([3.0, 4.0]))).figures["umap"]
        assert (placed.data[-1].x[0], placed.data[-1].y[0], placed.data[-1].marker.symbol) == (3, 4, "star")
        assert "note" not in placed.layout.meta
        assert placed.layout.meta["table"]["rows"][-1][1:] == ["yours", "", 3, 4]
        assert "note" not in draw(manifold, manifold.demo()).figures["umap"].layout.meta


@pytest.fixture(scope="module")
def bench(toy_suite):
    looks.looks.cache_clear()
    made = Workbench(svd=SvdStore(folder=None))
    draw_plain_maps(made)
    return made


@pytest.fixture(scope="module")
def runs(bench):
    found = {}
    for method, parameters in METHODS.items():
        *_, found[method] = paced(bench.run(Recipe("toy", load_suite("toy").experts, method, parameters)), pause=0)
    return found


@pytest.fixture
def drawn(bench) -> Session:
    """A session with a test picture of `blob` as the visitor's own."""
    fresh = choose_suite(Session(), "toy", load_suite("toy").experts)
    number = bench.insight.yours.keep(load_suite("toy").pictures("blob", "score")[3])
    return dataclasses.replace(fresh, inputs=dataclasses.replace(fresh.inputs, yours=number))


def visited(given, runs):
    """Return the session after a visit in which all runs were seen."""
    seen = given.comparison
    for run in runs.values():
        seen = comparison.remembered(seen, run.recipe.to_link())
    return dataclasses.replace(given, comparison=seen)


def parts_of(bench, given, shown):
    """Return the last value of every part, and how many came."""
    every = list(yours.yours_steps(bench, given, shown, lambda: True))
    assert all(every), "an update without parts is an error in Gradio"
    return {name: value for parts in every for name, value in parts.items()}, len(every)


class TestSteps:
    @pytest.mark.parametrize("method", METHODS)
    def test_a_merge_answers_as_for_the_test_picture(self, bench, runs, drawn, method):
        run = runs[method]
        merged = bench.merged(run.recipe)
        case = yours.case_of(bench, drawn, run.recipe.digest)
        inputs = load_suite("toy").prepared("blob", "score")[3:4]
        assert torch.equal(case.inputs, inputs)
        logits, said = Model(merged, load_suite("toy"))(inputs, "blob")
        found = bench.replies.ask(case.suite, run.recipe.digest, merged, case.number, case.inputs)
        assert found.under("blob") == answer_of("blob", logits[0].float())
        assert found.picked == (None if said.picked is None else int(said.picked[0]))
        assert found.told == merged.knows_task
        line = yours.line_of(case.suite, run.recipe, found)
        assert line.sent == ("" if found.picked is None else run.recipe.experts[found.picked])
        assert line.merge.startswith(yours.method_class(method).title)

    def test_everything_is_said_about_it(self, bench, runs, drawn):
        shown = runs["sim"].recipe.digest
        list(sight.sight_steps(bench, drawn, shown, lambda: True))
        found, count = parts_of(bench, visited(drawn, runs), shown)
        assert count > 6
        assert "This merge: SiM" in found["yours_why"]
        assert found["yours_why"].count("The margin is") == 6
        assert found["yours_why"].count("of the support inputs lie closer") == 5
        assert "…" not in found["yours_why"]
        assert " %</td>" in found["yours_why"]
        assert "Other merges of this visit in memory" in found["replies"]
        for method in set(METHODS) - {"sim"}:
            assert yours.method_class(method).title in found["replies"]
        assert '"yours"' in found["map"].to_json()
        assert json.loads(found["replying"])["text"] == ""

    def test_it_has_a_place_on_the_map_before_anything_is_merged(self, bench, drawn):
        found, _ = parts_of(bench, drawn, "")
        views = json.loads(found["map"].to_json())["views"]
        assert set(views) == {"pca", "umap"}
        for view in views.values():
            symbols = [trace["marker"]["symbol"] for trace in view["data"]]
            assert set(symbols[:-1]) == {"x-thin"}, "the support set alone"
            assert symbols[-1] == "star"
        shown = list(sight.sight_steps(bench, drawn, "", lambda: True))
        assert "star" in shown[-1]["map"].to_json()

    def test_distances_are_compared_with_the_support_inputs(self, bench, runs, drawn):
        shown = runs["task_arithmetic"].recipe.digest
        case = yours.case_of(bench, drawn, shown)
        seen = yours._explained(bench, drawn, shown, case, None, UNASKED, lambda: True)
        *_, view = (found for found in seen if isinstance(found, route_input.InputView))
        fitted = bench.insight.fitted(case.suite, case.experts)
        for card, key in zip(view.routers, fitted, strict=True):
            if key == "weight_projection":
                assert card.farther is None
                continue
            known = usual(fitted[key])
            nearer = sum(1 for distance in known if distance < min(card.values))
            assert card.farther == pytest.approx(100 * nearer / len(known))
        blank = dataclasses.replace(view, routers=view.routers[-1:])
        assert yours.far_of(blank) is None
        cards = tuple(dataclasses.replace(view.routers[0], farther=share) for share in (99, 95, 94))
        assert yours.far_of(dataclasses.replace(view, routers=cards)) == (2, 3)

    def test_before_any_merge_experts_and_routers_answer(self, bench, drawn):
        found, _ = parts_of(bench, drawn, "")
        assert yours.UNMERGED in found["replies"]
        assert found["yours_why"].count("The margin is") == 5
        nobody = dataclasses.replace(drawn, experts=())
        assert json.loads(parts_of(bench, nobody, "")[0]["replying"])["text"] == yours.NOBODY

    def test_no_picture_and_one_that_is_gone(self, bench, runs, drawn):
        shown = runs["task_arithmetic"].recipe.digest
        none = dataclasses.replace(drawn, inputs=dataclasses.replace(drawn.inputs, yours=None))
        found, count = parts_of(bench, none, shown)
        assert count == 1
        assert (found["replies"], found["yours_why"]) == ("", "")
        gone = dataclasses.replace(drawn, inputs=dataclasses.replace(drawn.inputs, yours=1))
        assert json.loads(parts_of(bench, gone, shown)[0]["replying"])["text"] == yours.GONE

    def test_nobody_waits_for_what_nobody_wants(self, bench, runs, drawn):
        fresh = bench.insight.yours.keep(picture(77))
        other = dataclasses.replace(drawn, inputs=dataclasses.replace(drawn.inputs, yours=fresh))
        steps = list(yours.yours_steps(bench, other, runs["sim"].recipe.digest, lambda: False))
        assert [set(parts) for parts in steps] == [{"replies"}]

    def test_merges_in_memory_are_named_apart(self, bench, runs):
        names = [yours.named(run.recipe) for run in runs.values() if bench.keeps(run.recipe)]
        assert len(set(names)) == len(METHODS)
        assert any("rank 4" in name for name in names)

    def test_the_picture_is_in_no_link(self, drawn):
        none = dataclasses.replace(drawn, inputs=dataclasses.replace(drawn.inputs, yours=None))
        assert session.query(drawn) == session.query(none)
        assert yours.mark(none, "x") == ""
        assert yours.mark(drawn, "x") != yours.mark(drawn, "y")
        assert choose_suite(drawn, "toy", drawn.experts).inputs.yours is None


class TestPad:
    def test_what_was_drawn_arrives(self, bench):
        assert (pad.received("toy", {"data": uri(saved(Image.fromarray(picture()))), "drawn": True}) == picture()).all()
        assert pad.received("toy", {"data": ""}) is None

    @pytest.mark.parametrize(
        "words",
        [{}, {"data": 7}, {"data": ["x"]}, {"data": "hello"}, {"data": "data:image/png,abc"},
         {"data": "data:;base64,*"}, {"data": "data:;base64,aGk="}, {"data": "data:;base64," + "A" * 2_000_000},
         {"data": uri(saved(Image.new("L", (4, 5)))), "fit": {"a": 1}}],
    )  # fmt: skip
    def test_anything_else_is_refused(self, bench, words):
        with pytest.raises(MergeError):
            pad.received("toy", words)

    def test_examples_are_test_pictures(self, bench):
        wanted = load_suite("toy").pictures("colour", "score")
        assert (pad.example("toy", "colour", len(wanted) + 2) == wanted[2]).all()
        for task in ("moon", None, ["colour"], NASTY):
            with pytest.raises(SuiteError):
                pad.example("toy", task, 0)

    def test_the_sheet_knows_the_suite(self, bench, monkeypatch):
        told = json.loads(pad.pad_value("toy"))
        assert told["side"] == 32
        assert told["tasks"] == list(load_suite("toy").tasks)
        assert {"words", "paper", "ink", "pen", "frame"} == set(told["looks"][0])
        assert "picture" not in told
        put = json.loads(pad.pad_value("toy", picture=picture()))
        assert put["picture"].startswith("data:image/png")
        assert put["stamp"] < json.loads(pad.pad_value("toy", picture=picture()))["stamp"]
        monkeypatch.setattr(pad, "side_of", lambda suite: None)
        assert json.loads(pad.pad_value("toy"))["absent"] == pad.ABSENT
        with pytest.raises(SuiteError, match="no pictures"):
            pad.received("toy", {"data": ""})

    def test_only_so_many_pictures_are_kept(self, monkeypatch):
        monkeypatch.setattr(yours_pictures, "KEPT", 2)
        kept = yours_pictures.YoursPictures()
        first, second = kept.keep(picture(1)), kept.keep(picture(2))
        assert (kept.get(first) == picture(1)).all()
        third = kept.keep(picture(3))
        assert kept.get(second) is None
        assert kept.keep(picture(1)) == first != third


class TestLooks:
    def test_a_stroke_is_as_wide_as_it_is(self):
        ink = np.zeros((32, 32), bool)
        ink[4:28, 10:13] = True
        assert looks.stroke(ink) == pytest.approx(3, rel=0.15)

    def test_paper_pen_and_size_are_measured(self):
        pages = np.full((6, 32, 32), 255, np.uint8)
        pages[:, 6:26, 14:18] = 0
        suite = SimpleNamespace(pictures=lambda task, split: pages, indices=lambda task, split: [1])
        look = looks.look_of(suite, "bars")
        assert (look.paper, look.ink, look.frame) == (255, 0, 20 / 32)
        assert look.pen * 32 == pytest.approx(4, rel=0.2)
        assert look.words == "bars: black on white"
        noise = np.random.default_rng(0).integers(0, 255, (6, 32, 32), dtype=np.uint8)
        blank = np.zeros((6, 32, 32), np.uint8)
        solid = np.pad(np.full((6, 28, 28), 255, np.uint8), ((0, 0), (2, 2), (2, 2)))
        for other in (noise, blank, solid):
            suite.pictures = lambda task, split, other=other: other
            assert looks.look_of(suite, "x") is None

    def test_a_suite_without_lines_offers_both_colours(self, bench, monkeypatch):
        assert "blob" in [look.name for look in looks.looks("toy")]
        monkeypatch.setattr(looks, "look_of", lambda suite, task: None)
        found = looks.looks.__wrapped__("toy")
        assert [look.words for look in found] == ["white on black", "black on white"]
