"""Suites: what they hold, what they hide from merge methods, and what they say when something is missing."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
import torch

from merge_engine.errors import RecipeError, SuiteError, WeightsError
from merge_engine.evaluate import Fixed, score
from merge_engine.suite import SPLITS, Suite, load_suite, suite_folders
from merge_engine.weights import compare


def test_the_bundled_suite_is_found_by_name():
    assert "pictures" in suite_folders()
    suite = load_suite("pictures")
    assert len(suite.seen) == 8
    assert len(suite.unseen) == 2


def test_unknown_names_are_refused_with_the_nearest(toy):
    with pytest.raises(SuiteError, match="Did you mean 'pictures'"):
        load_suite("picture")
    with pytest.raises(SuiteError, match="Did you mean 'stripes'"):
        toy.problem(["stripe"])
    with pytest.raises(SuiteError, match="No task in suite toy named"):
        toy.prepared("nothing", "score")
    with pytest.raises(SuiteError, match="Did you mean 'validation'"):
        toy.labels("stripes", "valdation")
    with pytest.raises(RecipeError, match="No expert was given"):
        toy.problem([])


@pytest.mark.parametrize("name", ["../..", "/etc", "toy\x00", "a" * 5000])
def test_hostile_names_open_nothing(name):
    with pytest.raises(SuiteError, match="No suite named"):
        load_suite(name)


def test_splits_are_disjoint_where_they_must_be(toy):
    for task in toy.tasks:
        inside = {split: set(toy.indices(task, split).tolist()) for split in SPLITS}
        assert not inside["train"] & inside["validation"]
        assert inside["support"] <= inside["train"]
        assert not inside["adapt"] & inside["score"]
        assert inside["adapt"] | inside["score"] == inside["test"]
        assert len(toy.labels(task, "score")) == len(toy.prepared(task, "score")) == len(inside["score"])


def test_experts_fit_the_pretrained_model(toy):
    for name in toy.experts:
        assert compare(toy.pretrained, toy.expert(name), name).ok


def test_support_starts_with_the_support_set(toy):
    inputs = toy.problem().inputs
    few, many = inputs.support("stripes", 32), inputs.support("stripes", 100)
    assert torch.equal(few, toy.prepared("stripes", "support"))
    assert torch.equal(many[:32], few)
    assert len(many) == 100
    validation = toy.backbone.prepare(toy.pictures("stripes", "validation"))
    assert not any((validation == picture).flatten(1).all(1).any() for picture in many)


def test_other_draws_of_support_differ_repeat_and_leave_validation_alone(toy):
    inputs = toy.problem().inputs
    first, second = inputs.support("stripes", 40, 1), inputs.support("stripes", 40, 2)
    assert first.shape == second.shape
    assert not torch.equal(first, second)
    assert torch.equal(first, inputs.support("stripes", 40, 1))
    assert torch.equal(inputs.support("stripes", 20, 0), inputs.support("stripes", 20))
    validation = toy.prepared("stripes", "validation")
    assert not any((validation == picture).flatten(1).all(1).any() for picture in torch.cat([first, second]))


def test_the_stream_is_the_adapt_half_without_labels(toy):
    stream = toy.problem().inputs.stream("blob", 16)
    batch = next(stream)
    assert batch.shape[0] == 16
    adapt = toy.prepared("blob", "adapt")
    assert all((adapt == one).flatten(1).all(1).any() for one in batch)
    assert not hasattr(toy.problem().inputs, "labels")


def test_heads_are_cosines_times_a_fixed_scale(toy):
    head = toy.head("colour")
    features = torch.randn(5, head.vectors.shape[1])
    assert torch.allclose(head.vectors.norm(dim=1), torch.ones(len(head.vectors)), atol=1e-5)
    x = (features - head.centre).double()
    expected = toy.logit_scale * (x / x.norm(dim=1, keepdim=True)) @ head.vectors.double().T
    assert torch.allclose(head(features).double(), expected, atol=1e-4)


def test_missing_experts_are_named_with_the_command(toy_folder, tmp_path):
    shutil.copytree(toy_folder, tmp_path / "part")
    (tmp_path / "part" / "experts" / "blob.safetensors").unlink()
    part = Suite(tmp_path / "part")
    assert part.missing_experts == ("blob",)
    assert "blob" not in part.problem().tasks
    with pytest.raises(SuiteError, match="python -m merge_engine train toy"):
        part.problem(["blob"])


@pytest.mark.parametrize("text", ["name = ", "name = 'x'", "", "[[task]]\nname = 'x'"])
def test_a_broken_declaration_is_one_sentence(tmp_path, text):
    (tmp_path / "suite.toml").write_text(text)
    with pytest.raises(SuiteError, match=r"suite\.toml"):
        Suite(tmp_path)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ('[[expert]]\nname = "mine"\ntask = "blob"', "Expert 'mine' of suite toy is of task 'blob'"),
        ('[[expert]]\nname = "blobs"\ntask = "blobs"', "Did you mean 'blob'"),
    ],
)
def test_an_expert_carries_the_name_of_its_task(toy_folder, tmp_path, changed, sentence):
    text = (toy_folder / "suite.toml").read_text()
    (tmp_path / "suite.toml").write_text(re.sub(r'\[\[expert\]\]\nname = "blob"\ntask = "blob"', changed, text))
    with pytest.raises(SuiteError, match=re.escape(sentence)):
        Suite(tmp_path)


def test_a_damaged_expert_file_is_one_sentence(toy_folder, tmp_path):
    shutil.copytree(toy_folder, tmp_path / "bad")
    file = tmp_path / "bad" / "experts" / "blob.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(WeightsError, match="cannot be read as safetensors"):
        Suite(tmp_path / "bad").problem(["blob"])


def test_a_damaged_sheet_is_one_sentence(toy_folder, tmp_path):
    shutil.copytree(toy_folder, tmp_path / "bad")
    (tmp_path / "bad" / "data" / "blob" / "test.png").write_bytes(b"no picture")
    with pytest.raises(SuiteError, match="cannot be read as a PNG sheet"):
        Suite(tmp_path / "bad").pictures("blob", "score")


def test_pictures_come_back_as_drawn(toy):
    pictures = toy.pictures("stripes", "score")
    assert pictures.dtype == np.uint8
    assert len(np.unique(pictures.reshape(len(pictures), -1), axis=0)) > len(pictures) // 2


def test_scoring_first_leaves_adaptation_possible(toy_folder):
    fresh = Suite(toy_folder)
    task = fresh.seen[0]
    score(fresh, Fixed(fresh.pretrained_in_memory), [task], limit=2)
    weights = {name: value.clone().requires_grad_() for name, value in fresh.pretrained_in_memory.items()}
    features = fresh.features(weights, fresh.prepared(task, "score")[:2])
    fresh.head(task)(features).sum().backward()
    assert any(w.grad is not None and w.grad.any() for w in weights.values())
