"""Loss between models: the plane, the line and weight disentanglement against naive references, and the command."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from merge_engine.errors import RecipeError
from merge_engine.evaluate import Fixed, score
from merge_engine.landscape import corners, lattice
from merge_engine.landscape.disentanglement import ZERO, DisentanglementSurvey
from merge_engine.landscape.path import PathSurvey, barrier
from merge_engine.landscape.probe import Probe
from merge_engine.landscape.span import Plane, Span
from merge_engine.landscape.surface import PlaneSurvey, frame, only_static
from merge_engine.merged import StaticMerged
from merge_engine.methods import build
from merge_engine.running import drive, merge_steps
from merge_engine.runs.run import recipe_for
from merge_engine.weights import AddedWeights

MODELS = ("pretrained", "stripes", "blob")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MERGESCOPE_CACHE", str(tmp_path))


def flat(weights) -> np.ndarray:
    """Return all parameters in a row, float64."""
    names = [n for n in sorted(weights) if weights[n].is_floating_point()]
    return np.concatenate([weights[n].double().numpy().ravel() for n in names])


def unflat(row, like) -> dict:
    """Return the parameters of a row by name, float32, and everything else as in another model."""
    found, at = dict(like), 0
    for name in (n for n in sorted(like) if like[n].is_floating_point()):
        size = like[name].numel()
        found[name] = torch.from_numpy(row[at : at + size]).float().view(like[name].shape)
        at += size
    return found


def naive_basis(suite, models=MODELS):
    """Return origin and orthonormal basis (2, P) as the specification writes them."""
    every = [flat(suite.pretrained_in_memory if m == "pretrained" else suite.expert(m)) for m in models]
    one = (every[1] - every[0]) / np.linalg.norm(every[1] - every[0])
    beside = every[2] - every[0]
    two = beside - (beside @ one) * one
    return every, np.stack([one, two / np.linalg.norm(two)])


def span_of(suite, models=MODELS) -> Span:
    weights = [suite.pretrained_in_memory if m == "pretrained" else suite.expert(m) for m in models]
    return Span(weights[0], weights[1:])


def finished(survey, detail=6, *more):
    return drive(survey.steps(detail, *more))


class TestPlane:
    def test_the_corners_are_those_of_the_naive_basis(self, toy):
        every, basis = naive_basis(toy)
        corners = Plane.of(span_of(toy).gram()).corners
        for corner, model in zip(corners, every, strict=True):
            np.testing.assert_allclose(corner, basis @ (model - every[0]), atol=1e-9)

    def test_projection_and_residual_are_the_naive_ones(self, toy):
        every, basis = naive_basis(toy)
        span = span_of(toy)
        plane = Plane.of(span.gram())
        for name in ("colour", "grain"):
            beside = flat(toy.expert(name)) - every[0]
            place = plane.place(span.dots(toy.expert(name)))
            np.testing.assert_allclose(place, basis @ beside, atol=1e-9)
            left = np.linalg.norm(beside - basis.T @ (basis @ beside))
            assert span.residual(toy.expert(name), plane.coefficients(place)) == pytest.approx(left, rel=1e-9)
            assert left > 0.01

    @pytest.mark.parametrize("coefficients", [(0, 0), (1, 0), (0, 1), (0.3, 0.7), (-0.4, 1.6)])
    def test_a_point_in_the_plane_is_not_off_it_and_comes_back(self, toy, coefficients):
        span = span_of(toy)
        plane = Plane.of(span.gram())
        weights = {n: v.double() for n, v in toy.pretrained_in_memory.items()}
        for c, direction in zip(coefficients, span.directions, strict=True):
            weights = {n: v + c * direction[n].double() for n, v in weights.items()}
        place = plane.place(span.dots(weights))
        np.testing.assert_allclose(plane.coefficients(place), coefficients, atol=1e-9)
        assert span.residual(weights, plane.coefficients(place)) < 1e-9 * plane.corners[1, 0]

    def test_building_in_place_is_the_sum(self, toy):
        span, every = span_of(toy), naive_basis(toy)[0]
        for c in ((0.25, 0.5), (1, 0), (0, 0)):
            wanted = every[0] + c[0] * (every[1] - every[0]) + c[1] * (every[2] - every[0])
            np.testing.assert_allclose(flat(span.at(*c)), wanted, atol=1e-6)

    def test_three_models_on_a_line_are_refused(self, toy):
        half = AddedWeights(toy.pretrained_in_memory, {
            n: (toy.expert("blob")[n] - v) / 2 for n, v in toy.pretrained_in_memory.items()
        })  # fmt: skip
        with pytest.raises(RecipeError, match="one line"):
            Plane.of(Span(toy.pretrained_in_memory, [toy.expert("blob"), half]).gram())

    def test_the_frame_has_the_models_inside(self):
        x, y = frame(Plane(np.array([[0.0, 0], [2, 0], [1, 3]])))
        assert (x[0], x[-1], y[0], y[-1]) == (-1.5, 3.5, -1.5, 4.5)


class TestSurface:
    def test_a_corner_is_the_models_own_score(self, toy):
        found = finished(PlaneSurvey(toy, MODELS, 16))
        for marker in found.markers:
            model = toy.pretrained_in_memory if marker.name == "pretrained" else toy.expert(marker.name)
            own = score(toy, Fixed(model), found.tasks, split="validation", limit=16)
            assert marker.accuracy.tolist() == [own[task].accuracy for task in found.tasks]
            assert marker.off == 0

    def test_loss_is_the_naive_cross_entropy(self, toy):
        probe = Probe(toy, ("blob",), 12)
        found = probe.read(toy.expert("blob"))
        labels = toy.labels("blob", "validation")[probe._order("blob")]
        with torch.inference_mode():
            logits = toy.head("blob")(toy.features(toy.expert("blob"), probe.inputs["blob"])).double().numpy()
        powers = np.exp(logits)
        chosen = powers[np.arange(12), labels.numpy()] / powers.sum(1)
        assert found[0, 0] == pytest.approx(-np.log(chosen).mean(), rel=1e-6)
        assert found[0, 1] == 100 * np.mean(logits.argmax(1) == labels.numpy())

    def test_a_point_is_the_model_of_its_mixture(self, toy):
        found = finished(PlaneSurvey(toy, MODELS, 8))
        row, column = 4, 12
        mix = found.mixture[row, column]
        assert mix.sum() == pytest.approx(1)
        models = [toy.pretrained_in_memory, toy.expert("stripes"), toy.expert("blob")]
        weights = {n: sum(float(m) * w[n] for m, w in zip(mix, models, strict=True)) for n in models[0]}
        read = Probe(toy, found.tasks, 8).read(weights)
        np.testing.assert_allclose(found.loss[row, column], read[:, 0], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(found.accuracy[row, column], read[:, 1])

    def test_a_merge_has_its_own_loss_and_its_distance(self, toy):
        merged = drive(merge_steps(toy.problem(), build("task_arithmetic"), ()))
        survey = PlaneSurvey(toy, MODELS, 8)
        finished(survey, 6, {"m": merged})
        marker = survey.surface({"m": "Task Arithmetic"}).markers[-1]
        assert marker.merge
        own = score(toy, merged, survey.probe.tasks, split="validation", limit=8)
        assert marker.accuracy.tolist() == [own[task].accuracy for task in survey.probe.tasks]
        every, basis = naive_basis(toy)
        beside = flat(merged.weights()) - every[0]
        np.testing.assert_allclose((marker.x, marker.y), basis @ beside, atol=1e-6)
        assert marker.off == pytest.approx(np.linalg.norm(beside - basis.T @ (basis @ beside)), rel=1e-6)

    def test_what_is_several_models_has_no_place(self, toy):
        routed = drive(merge_steps(toy.problem(), build("tsv_c"), ()))
        assert not isinstance(routed, StaticMerged)
        assert only_static({"m": routed}) == {}

    def test_coarse_comes_first_and_nothing_is_read_twice(self, toy):
        survey = PlaneSurvey(toy, MODELS, 4)
        assert survey.surface() is None
        assert survey.missing(11) == 3 + 121
        steps = survey.steps(11)
        for _ in range(41):
            next(steps)
        steps.close()
        found = survey.surface()
        assert np.isfinite(found.loss[::4, ::4]).all()
        assert found.measured == 38
        again = PlaneSurvey(toy, MODELS, 4)
        assert again.missing(11) == survey.missing(11) == 124 - 41
        counted = list(again.steps(11))
        assert [s.done for s in counted] == list(range(1, 84))
        assert {s.total for s in counted} == {83}
        assert PlaneSurvey(toy, MODELS, 5).missing(6) == 39

    def test_a_damaged_store_is_measured_again(self, toy):
        survey = PathSurvey(toy, MODELS[1:], 4)
        survey.stored.file.parent.mkdir(parents=True)
        survey.stored.file.write_text("[1, 2")
        assert PathSurvey(toy, MODELS[1:], 4).missing(6) == 9


class TestPath:
    def test_the_ends_are_the_models(self, toy):
        found = finished(PathSurvey(toy, ("stripes", "blob"), 16))
        assert found.shares.tolist() == [-0.5, -0.25, 0, 0.25, 0.5, 0.75, 1, 1.25, 1.5]
        for share, name in ((0, "stripes"), (1, "blob")):
            own = score(toy, Fixed(toy.expert(name)), found.tasks, split="validation", limit=16)
            line = found.accuracy[found.shares.tolist().index(share)]
            assert line.tolist() == [own[task].accuracy for task in found.tasks]

    def test_the_barrier_is_the_naive_one(self):
        random = np.random.default_rng(0)
        shares, curve = np.linspace(-0.5, 1.5, 49), random.random(49)
        inside = [i for i, s in enumerate(shares) if -1e-12 <= s <= 1 + 1e-12]
        at = np.round(shares, 12)
        first, last = curve[inside[0]], curve[inside[-1]]
        naive = [curve[i] - ((1 - at[i]) * first + at[i] * last) for i in inside]
        found = barrier(at, curve)
        assert found.height == pytest.approx(max(naive))
        assert found.at == at[inside[int(np.argmax(naive))]]

    def test_a_convex_curve_and_a_model_with_itself_have_none(self):
        shares = np.arange(-12, 37) / 24
        assert barrier(shares, (shares - 0.3) ** 2).height == 0
        assert barrier(shares, np.full(49, 1.7)).height == 0
        assert barrier(shares[13:], shares[13:]) is None

    def test_a_model_with_itself_is_one_point(self, toy):
        span, probe = Span(toy.expert("blob"), [toy.expert("blob")]), Probe(toy, ("blob", "stripes"), 8)
        curve = np.array([probe.read(span.at(part / 24))[:, 0].mean() for part in range(0, 25, 6)])
        assert barrier(np.arange(0, 25, 6) / 24, curve).height == 0
        with pytest.raises(RecipeError, match="2 different models"):
            PathSurvey(toy, ("blob", "blob"), 8)


class TestDisentanglement:
    def test_it_is_the_naive_error(self, toy):
        survey = DisentanglementSurvey(toy, ("stripes", "blob"), 8)
        found = finished(survey)
        base = toy.pretrained_in_memory
        vectors = [{n: toy.expert(e)[n].double() - v.double() for n, v in base.items()} for e in found.experts]

        def guess(a, b, task):
            weights = {n: (v.double() + a * vectors[0][n] + b * vectors[1][n]).float() for n, v in base.items()}
            with torch.inference_mode():
                return toy.head(task)(toy.features(weights, survey.probe.inputs[task])).argmax(-1).numpy()

        for row, column in ((4, 12), (12, 12), (16, 0), (12, 8)):
            a, b = found.scalings[column], found.scalings[row]
            terms = [np.mean(guess(a, 0, "stripes") != guess(a, b, "stripes")),
                     np.mean(guess(0, b, "blob") != guess(a, b, "blob"))]  # fmt: skip
            np.testing.assert_allclose(found.changed[row, column], terms)
            assert found.error[row, column] == pytest.approx(sum(terms))

    def test_on_the_axes_only_the_other_term_is_left(self, toy):
        found = finished(DisentanglementSurvey(toy, ("stripes", "blob"), 8))
        known = np.isfinite(found.error).any(0)
        assert found.error[ZERO, ZERO] == 0
        assert (found.changed[ZERO, known, 0] == 0).all()
        assert (found.changed[known, ZERO, 1] == 0).all()
        assert found.error[ZERO, known] == pytest.approx(found.changed[ZERO, known, 1])
        assert (found.error[np.ix_(known, known)] <= 2).all()
        assert found.scalings[ZERO] == 0

    def test_it_takes_two_experts(self, toy):
        with pytest.raises(RecipeError, match="no task vector"):
            DisentanglementSurvey(toy, ("pretrained", "blob"))


def test_every_lattice_holds_the_one_before():
    coarse, middle, fine = (set(lattice.points(side)) for side in lattice.SIDES)
    assert coarse < middle < fine
    assert [len(s) for s in (coarse, middle, fine)] == [36, 121, 441]


class TestCorners:
    def test_the_average_is_the_mean_of_the_experts_and_has_their_tasks(self, toy):
        average = corners.of_recipe(toy, recipe_for(toy, "average"))
        wanted = np.mean([flat(toy.expert(name)) for name in toy.experts], axis=0)
        np.testing.assert_allclose(flat(average.weights()), wanted, atol=1e-6)
        assert average.tasks == toy.seen
        found = finished(PlaneSurvey(toy, ("pretrained", "blob", average), 8))
        own = score(toy, Fixed(average.weights()), found.tasks, split="validation", limit=8)
        corner = found.markers[2]
        assert (corner.name, corner.off) == ("Weight average", 0)
        assert corner.accuracy.tolist() == [own[task].accuracy for task in found.tasks]

    def test_from_the_pretrained_model_a_share_is_a_scaling(self, toy):
        survey = PathSurvey(toy, ("pretrained", "blob"), 8)
        found = finished(survey)
        base, expert = flat(toy.pretrained_in_memory), flat(toy.expert("blob"))
        half = found.shares.tolist().index(0.5)
        weights = unflat(base + 0.5 * (expert - base), toy.pretrained_in_memory)
        np.testing.assert_allclose(found.loss[half], survey.probe.read(weights)[:, 0], rtol=1e-3, atol=1e-4)
        assert found.tasks == ("blob",)

    def test_a_barrier_to_a_merge(self, toy):
        merge = corners.of_recipe(toy, recipe_for(toy, "task_arithmetic", {"scaling": 0.3}))
        found = finished(PathSurvey(toy, ("blob", merge), 8))
        ends = [found.accuracy[found.shares.tolist().index(share)] for share in (0, 1)]
        for end, weights in zip(ends, (toy.expert("blob"), merge.weights()), strict=True):
            own = score(toy, Fixed(weights), found.tasks, split="validation", limit=8)
            assert end.tolist() == [own[task].accuracy for task in found.tasks]
        assert found.barrier() is not None

    def test_a_merge_that_is_several_models_is_no_corner(self, toy):
        survey = PlaneSurvey(toy, ("pretrained", "blob", corners.of_recipe(toy, recipe_for(toy, "tsv_c"))), 8)
        with pytest.raises(RecipeError, match="not one point"):
            finished(survey)

    def test_readings_of_another_merge_are_not_taken_for_its_own(self, toy):
        first, second = (
            PathSurvey(toy, ("blob", corners.of_recipe(toy, recipe_for(toy, "task_arithmetic", {"scaling": s}))), 4)
            for s in (0.3, 0.4)
        )
        finished(first)
        assert second.missing(6) == 9 > PathSurvey(toy, first.ends, 4).missing(6) == 0


class TestCommand:
    def test_it_measures_all_three(self, command):
        code, out, err = command(
            "landscape", "--suite", "toy", "--models", ",".join(MODELS), "--merge", "task_arithmetic",
            "--path", "stripes,blob", "--disentangle", "stripes,blob", "--detail", 6, "--pictures", 4, "--json", "-",
        )  # fmt: skip
        assert code == 0, err
        found = json.loads(out)
        assert set(found) == {"plane", "path", "disentanglement"}
        assert (len(found["plane"]["points"]), len(found["disentanglement"]["points"])) == (36, 36 + 13)
        assert found["plane"]["markers"][-1]["name"] == "Task Arithmetic"
        assert found["plane"]["markers"][-1]["off the plane"] > 0
        assert set(found["path"]["barrier"]) == {"average", "stripes", "blob"}
        code, out, _ = command("landscape", "--suite", "toy", "--path", "stripes,blob", "--detail", 6, "--pictures", 4)
        assert code == 0
        assert "Linearly connected" in out

    def test_ends_and_corners_are_saved_merges_and_recipes_too(self, command, tmp_path):
        recipe, folder = tmp_path / "third.json", tmp_path / "saved"
        made = ("merge", "--suite", "toy", "--method", "task_arithmetic", "--set", "scaling=0.3")
        assert command(*made, "--out", folder, "--json", recipe)[0] == 0
        given = json.loads(recipe.read_text())
        keys = ("suite", "experts", "method", "parameters")
        recipe.write_text(json.dumps({key: given[key] for key in keys} | {"experts": given["experts"][:3]}))
        code, out, err = command(
            "landscape", "--suite", "toy", "--models", f"pretrained,average,{recipe}", "--path", f"blob,{folder}",
            "--detail", 6, "--pictures", 2, "--json", "-",
        )  # fmt: skip
        assert code == 0, err
        found = json.loads(out)
        assert found["plane"]["models"] == ["pretrained", "average", "third"]
        assert found["path"]["models"] == ["blob", "saved"]
        assert len(found["path"]["barrier"]) > 3, "a saved merge tells which tasks it is of"

    @pytest.mark.parametrize(
        "arguments",
        [(), ("--models", "pretrained,blob"), ("--models", "pretrained,blob,moon"), ("--path", "blob,blob"),
         ("--disentangle", "pretrained,blob"), ("--path", "stripes,blob", "--detail", "5"),
         ("--path", "stripes,blob", "--pictures", "0"), ("--path", "stripes,blob", "--merge", "ties"),
         ("--models", "pretrained,stripes,blob", "--detail", "6", "--pictures", "2", "--merge", "tsv_c"),
         ("--path", "blob,tsv_c", "--detail", "6", "--pictures", "2"), ("--path", "blob,/nowhere/merged")],
    )  # fmt: skip
    def test_bad_input_is_one_line(self, command, arguments):
        code, out, err = command("landscape", "--suite", "toy", *arguments)
        assert code == 2
        assert out == ""
        assert err.startswith("Error: ")
        assert err.count("\n") == 1
