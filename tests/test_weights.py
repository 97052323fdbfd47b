"""Reading checkpoints: lazily, never by pickle, and with one sentence for every way to be broken."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import save_file

from merge_engine.errors import WeightsError
from merge_engine.weights import (
    AddedWeights,
    SafetensorsWeights,
    TaskVectorWeights,
    compare,
    fingerprint,
    load_weights,
)


@pytest.fixture
def tensors():
    g = torch.Generator().manual_seed(0)
    return {"a": torch.randn(4, 3, generator=g), "b": torch.randn(5, generator=g).half(), "n": torch.arange(3)}


@pytest.fixture
def sharded(tmp_path, tensors):
    save_file({"a": tensors["a"]}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"b": tensors["b"], "n": tensors["n"]}, tmp_path / "model-00002-of-00002.safetensors")
    where = {n: f"model-0000{1 if n == 'a' else 2}-of-00002.safetensors" for n in tensors}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    return tmp_path


def test_single_file_and_shards_hold_the_same(tmp_path, tensors, sharded):
    single = tmp_path / "one" / "model.safetensors"
    single.parent.mkdir()
    save_file(tensors, single)
    for weights in (SafetensorsWeights(single), SafetensorsWeights(single.parent), SafetensorsWeights(sharded)):
        assert set(weights) == set(tensors)
        assert all(torch.equal(weights[n], tensors[n]) and weights[n].dtype == tensors[n].dtype for n in tensors)
    assert SafetensorsWeights(sharded).info("b").shape == (5,)
    assert SafetensorsWeights(sharded).info("b").dtype == "F16"


def test_a_lost_shard_is_named(sharded):
    (sharded / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(WeightsError, match="lacks 1 of 2 shards: model-00002-of-00002"):
        SafetensorsWeights(sharded)


def test_a_truncated_file_is_refused(tmp_path, tensors):
    file = tmp_path / "cut.safetensors"
    save_file(tensors, file)
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(WeightsError, match=r"cut\.safetensors cannot be read"):
        SafetensorsWeights(file)


@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"\x80\x02}q\x00." * 9, b"\xff" * 9])
def test_garbage_is_refused(tmp_path, content):
    file = tmp_path / "bad.safetensors"
    file.write_bytes(content)
    with pytest.raises(WeightsError, match="cannot be read as safetensors"):
        SafetensorsWeights(file)


def test_pickles_are_never_opened(tmp_path):
    file = tmp_path / "pytorch_model.bin"
    torch.save({"a": torch.ones(1)}, file)
    with pytest.raises(WeightsError, match="pickled checkpoints are never opened"):
        SafetensorsWeights(file)


def test_a_shard_outside_the_folder_is_not_followed(tmp_path, tensors):
    outside = tmp_path / "secret.safetensors"
    save_file(tensors, outside)
    folder = tmp_path / "model"
    folder.mkdir()
    index = {"weight_map": {"a": "../secret.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(WeightsError, match="lacks 1 of 1 shards"):
        SafetensorsWeights(folder)


@pytest.mark.parametrize("index", ["{", "[]", "{}", '{"weight_map": 3}'])
def test_a_broken_index_is_refused(tmp_path, index):
    file = tmp_path / "model.safetensors.index.json"
    file.write_text(index)
    with pytest.raises(WeightsError, match="is not an index of shards"):
        SafetensorsWeights(file)


def test_a_task_vector_dequantises_by_row(tmp_path, tensors):
    file = tmp_path / "expert.safetensors"
    stored = {
        "a": torch.randint(-127, 128, (4, 3), dtype=torch.int8),
        "a.scale": torch.tensor([0.1, 0.2, 0.0, 1.0]),
        "b": torch.ones(5),
    }
    save_file(stored, file, metadata={"format": "mergescope-task-vector-int8"})
    expert = load_weights(file, tensors)
    assert isinstance(expert, TaskVectorWeights)
    assert torch.equal(expert["a"], tensors["a"] + stored["a"].float() * stored["a.scale"][:, None])
    assert torch.equal(expert["b"], tensors["b"].float() + 1)
    assert torch.equal(expert["n"], tensors["n"].float())
    with pytest.raises(WeightsError, match="is a task vector"):
        load_weights(file)
    with pytest.raises(WeightsError, match="is not a tensor of the pretrained model"):
        load_weights(file, {"other": torch.ones(1)})


def test_added_weights_are_lazy_sums(tensors):
    added = AddedWeights(tensors, {"a": torch.ones(4, 3)})
    assert torch.equal(added["a"], tensors["a"] + 1)
    assert torch.equal(added["b"], tensors["b"].float())
    assert len(added) == len(tensors)


def test_the_report_names_what_does_not_fit(tensors):
    good = compare(tensors, {**tensors, "more": torch.ones(1)}, "x")
    assert good.ok
    assert "1 extra tensors are ignored" in good.sentence()
    bad = {"a": torch.ones(3, 4), "b": torch.full((5,), float("nan")).half()}
    report = compare(tensors, bad, "x")
    assert not report.ok
    assert report.missing == ("n",)
    assert "a (3, 4) instead of (4, 3)" in report.sentence()
    assert "NaN or infinite values in 1 (b)" in report.sentence()


def test_fingerprints_tell_content_shape_and_dtype_apart():
    t = torch.arange(6.0)
    same = t.reshape(2, 3).T.contiguous().T
    assert fingerprint(t.reshape(2, 3)) == fingerprint(same)
    others = [t, t.reshape(3, 2), t.double().reshape(2, 3), t.reshape(2, 3) + 1, torch.tensor(1.0)]
    assert len({fingerprint(o) for o in [t.reshape(2, 3), *others]}) == 6
