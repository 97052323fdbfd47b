"""The bundled suite's files: splits, sizes, classes and attribution."""

import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from merge_engine.evaluate import Fixed, score
from merge_engine.suite import Suite
from merge_engine.suites.sheets import read_sheet, write_sheet
from merge_engine.suites.splits import split_indices
from merge_engine.weights import SafetensorsWeights

ASSETS = Path(__file__).resolve().parents[1] / "assets"
PICTURES = ASSETS / "suites" / "pictures"
TASKS = [task["name"] for task in tomllib.loads((PICTURES / "suite.toml").read_text("utf-8"))["task"]]


@pytest.fixture(scope="module")
def suite() -> Suite:
    return Suite(PICTURES)


def test_eight_tasks_are_seen_and_two_are_not(suite):
    assert len(suite.seen) == 8
    assert suite.unseen == ("scripts", "ising")
    assert set(suite.task_of) == set(suite.task_of.values()) == set(suite.seen)


@pytest.mark.parametrize("task", TASKS)
def test_splits_are_disjoint_stratified_and_as_named(suite, task):
    train, validation, support, adapt, score = (
        set(suite.indices(task, split).tolist())
        for split in ("train", "validation", "support", "adapt", "score")
    )
    labels = suite.labels(task, "train"), suite.labels(task, "validation")
    count = len(train) + len(validation)
    assert not train & validation
    assert train | validation == set(range(count))
    assert support <= train
    assert len(support) == 32
    assert not adapt & score
    assert adapt | score == set(range(len(suite.labels(task, "test"))))
    for part, share in zip(labels, (0.9, 0.1), strict=True):
        sizes = np.bincount(part, minlength=len(suite.task(task).classes))
        assert abs(sizes - share * count / len(sizes)).max() <= 1
    halves = [np.bincount(suite.labels(task, half)) for half in ("adapt", "score")]
    assert abs(halves[0] - halves[1]).max() <= 1


@pytest.mark.parametrize("task", TASKS)
def test_stored_splits_are_those_of_the_seed(suite, task):
    labels = np.zeros(len(suite.indices(task, "train")) + len(suite.indices(task, "validation")), np.int64)
    for split in ("train", "validation"):
        labels[suite.indices(task, split)] = suite.labels(task, split)
    expected = split_indices("pictures", task, labels, suite.labels(task, "test").numpy())
    assert all(np.array_equal(suite.indices(task, name), value) for name, value in expected.items())


@pytest.mark.parametrize("task", TASKS)
def test_pictures_labels_and_heads_fit(suite, task):
    classes = len(suite.task(task).classes)
    for split in ("support", "score"):
        pictures, labels = suite.pictures(task, split), suite.labels(task, split)
        assert pictures.dtype == np.uint8
        assert pictures.shape[1:3] == (32, 32)
        assert len(pictures) == len(labels)
        assert pictures.std() > 10
    assert np.bincount(suite.labels(task, "test")).shape == (classes,)
    head = suite.head(task)
    assert head.vectors.shape == (classes, 768)
    assert np.allclose(head.vectors.norm(dim=1), 1, atol=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_attributed(suite, task):
    declared, notice = suite.task(task), (PICTURES / "NOTICE").read_text("utf-8")
    assert declared.licence
    assert declared.source
    assert f"\n{task}" in notice
    assert ("LICENSE" in {f.name for f in declared.folder.iterdir()}) == (task == "digits")


def test_backbone_index_names_every_tensor_of_the_module(suite):
    index = json.loads((PICTURES / "backbone" / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == set(suite.backbone.names(suite.module))
    assert suite.pretrained_in_memory["embeddings.position_embeddings"].shape == (1, 17, 384)


@pytest.mark.parametrize("expert", TASKS[:8])
def test_an_expert_is_an_eight_bit_task_vector_that_knows_its_task(suite, expert):
    stored = SafetensorsWeights(suite.expert_file(expert))
    matrices = [name for name in stored if stored[name].dtype == torch.int8]
    assert len(matrices) == 12 * 6
    assert all(f"{name}.scale" in stored for name in matrices)
    limit = {"split": "validation", "limit": 40}
    alone = score(suite, Fixed(suite.expert(expert)), (expert,), **limit)[expert].accuracy
    before = score(suite, Fixed(suite.pretrained_in_memory), (expert,), **limit)[expert].accuracy
    assert alone > before + 5


def test_assets_stay_small():
    sizes = {f: f.stat().st_size for f in ASSETS.rglob("*") if f.is_file()}
    assert [f for f, size in sizes.items() if size > 25_000_000] == []
    assert sum(sizes.values()) < 260_000_000


@given(st.integers(1, 150), st.booleans(), st.integers(0, 3))
@settings(max_examples=10, deadline=None)
def test_sheets_lose_nothing(tmp_path_factory, count, colour, seed):
    shape = (count, 8, 8, 3) if colour else (count, 8, 8)
    pictures = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    path = tmp_path_factory.mktemp("sheet") / "sheet.png"
    write_sheet(path, pictures)
    assert np.array_equal(read_sheet(path, count), pictures)
