"""Whatever is wrong with the input: exit code 2 and one clear line, never a traceback, nothing on stdout."""

from __future__ import annotations

import json
import os
import pickle
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from merge_engine.cli import listing

GOOD = ("merge", "--suite", "toy", "--method", "task_arithmetic", "--experts", "blob,grain")


@pytest.fixture
def refused(command):
    """Run a command that must be refused and return its one line."""

    def run(*arguments: object) -> str:
        code, out, err = command(*arguments)
        assert code == 2, err
        assert out == ""
        assert err.startswith("Error: ")
        assert err.count("\n") == 1
        assert err.endswith("\n")
        assert "Traceback" not in err
        return err.removeprefix("Error: ").strip()

    return run


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("merge", "--suite", "toy"), "No merge method was given"),
        (("merge", "--suite", "toy", "--method", "tiess"), "Did you mean 'ties'"),
        (("merge", "--suite", "toy", "--method", "../ties"), "No merge method named '../ties'"),
        (("merge", "--suite", "toy", "--method", "svc"), "is a post-step"),
        (("merge", "--suite", "toi", "--method", "ties"), "Did you mean 'toy'"),
        (("merge", "--suite", "../../etc", "--method", "ties"), "No suite named '../../etc'"),
        (("merge", "--suite", "x" * 5000, "--method", "ties"), "x"),
        ((*GOOD[:-1], "blob,grian"), "Did you mean 'grain'"),
        ((*GOOD[:-1], "blob,../../etc/passwd"), "is not a name of an expert"),
        ((*GOOD[:-1], "blob,blob"), "named twice"),
        ((*GOOD[:-1], "blob"), "at least two experts; got only 'blob'"),
        ((*GOOD[:-1], ","), "An empty list of names"),
        ((*GOOD, "--set", "scalng=1"), "Did you mean 'scaling'"),
        ((*GOOD, "--set", "scaling=999"), "TaskArithmetic.scaling must be a number in [-10, 10]; got '999'"),
        ((*GOOD, "--set", "scaling=nan"), "TaskArithmetic.scaling must be"),
        ((*GOOD, "--set", "scaling=1e999"), "TaskArithmetic.scaling must be"),
        ((*GOOD, "--set", "scaling"), "--set takes NAME=VALUE"),
        ((*GOOD, "--set", "=1"), "--set takes NAME=VALUE"),
        ((*GOOD, "--set", "scaling="), "--set takes NAME=VALUE"),
        ((*GOOD, "--set", "svc.floor=1"), "names a step, and none was added"),
        ((*GOOD, "--post", "svc", "--set", "scv.floor=1"), "Did you mean 'svc'"),
        ((*GOOD, "--post", "ties"), "is a merge method, not a post-step"),
        ((*GOOD, "--post", "scv"), "Did you mean 'svc'"),
        ((*GOOD, "--seed", "-1"), "seed must be"),
        ((*GOOD, "--seed", "x"), "--seed"),
        ((*GOOD, "--device", "tpu"), "Device 'tpu' is not on this machine"),
        ((*GOOD, "--device", "cuda:99"), "Device 'cuda:99' is not on this machine"),
        ((*GOOD, "--evaluate", "--limit", "0"), "limit must be at least 1"),
        ((*GOOD, "--evaluate", "--limit", "many"), "--limit"),
        ((*GOOD, "--limit", "5"), "add --evaluate"),
        ((*GOOD, "--evaluate", "--split", "scroe"), "Did you mean 'score'"),
        ((*GOOD, "--evaluate", "--tasks", "blob,grian"), "Did you mean 'grain'"),
        ((*GOOD, "--out", "/proc/nothing/here"), "Nothing can be written to"),
        ((*GOOD, "--json", "/proc/nothing/here.json"), "lies in a folder that does not exist"),
        ((*GOOD, "--json", "/tmp"), "is a folder"),
        ((*GOOD, "--config", "/nothing/here.json"), "cannot be read"),
        ((*GOOD, "--bogus"), "No such option: --bogus"),
        ((*GOOD, "surplus"), "surplus"),
        (("merge", "--set"), "--set"),
        (("mrge",), "mrge"),
        (("merge", "--suite", "toy", "--method", "slerp"), "SLERP takes exactly 2 experts; got 4"),
        (("merge", "--suite", "toy", "--method", "linear", "--set", "weights=1,2"), "has 2 numbers for 4 experts"),
        (("merge", "--method", "ties", "--pretrained", "/nothing"), "takes --pretrained PATH and --expert NAME=PATH"),
        (("merge", "--method", "ties", "--expert", "a=/x"), "takes --pretrained PATH and --expert NAME=PATH"),
        (("merge", "--method", "ties", "--expert", "a"), "--expert takes NAME=PATH"),
        (("merge", "--method", "ties", "--evaluate", "--pretrained", "/x"), "without pictures to score on"),
        (("inspect", "--suite", "toy"), "--metric"),
        (("inspect", "--suite", "toy", "--metric", "cosin"), "Did you mean 'cosine'"),
        (("inspect", "--suite", "toy", "--metric", "cosine", "--set", "a=1"), "No parameter"),
        (("inspect", "--suite", "toy", "--metric", "cosine", "--level", "blok"), "Did you mean 'block'"),
        (("inspect", "--suite", "toy", "--metric", "cosine", "--quantity", "cosin"), "Did you mean 'cosine'"),
        (("inspect", "--suite", "toy", "--metric", "cosine", "--tensor", "nothing"), "No tensor named 'nothing'"),
        (("inspect", "--suite", "toy", "--metric", "accuracy"), "needs a merged model"),
        (("inspect", "--suite", "toy", "--metric", "cka", "--limit", "0"), "limit must be at least 1"),
        (("table", "--suite", "toy", "--methods", "averge"), "Did you mean 'average'"),
        (("table", "--suite", "toy", "--limit", "0"), "limit must be at least 1"),
        (("table", "--suite", "toy", "--limit", "1", "--validation", "0"), "at least 1"),
        (("train", "toi"), "Did you mean 'toy'"),
        (("check", "--suite", "toi"), "Did you mean 'toy'"),
    ],
)  # fmt: skip
def test_wrong_arguments(refused, arguments, sentence):
    assert sentence in refused(*arguments)


@pytest.fixture
def files(toy, toy_folder, tmp_path):
    """Whole checkpoints: the pretrained model and two experts, ready to be spoilt."""
    save_file(dict(toy.pretrained_in_memory), tmp_path / "base.safetensors")
    for name in ("blob", "grain"):
        save_file({n: toy.expert(name)[n].contiguous() for n in toy.expert(name)}, tmp_path / f"{name}.safetensors")
    return tmp_path


def spoil_truncated(file):
    file.write_bytes(file.read_bytes()[:-100])


def spoil_header(file):
    file.write_bytes(b"\xff" * 64)


def spoil_pickle(file):
    file.write_bytes(pickle.dumps({"weight": [1.0]}))


def spoil_empty(file):
    file.write_bytes(b"")


def spoil_nan(file):
    tensors = load_file(file)
    tensors["encoder.layer.1.mlp.fc1.weight"][0, 0] = float("nan")
    save_file(tensors, file)


def spoil_keys(file):
    save_file({n.replace("layer.1", "layer.9"): t for n, t in load_file(file).items()}, file)


def spoil_shapes(file):
    save_file({n: torch.cat([t, t]) if "fc1" in n else t for n, t in load_file(file).items()}, file)


def spoil_architecture(file):
    save_file({"transformer.h.0.attn.weight": torch.zeros(4, 4)}, file)


@pytest.mark.parametrize("action", ["check", "merge"])
@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (spoil_truncated, "blob.safetensors cannot be read as safetensors"),
        (spoil_header, "blob.safetensors cannot be read as safetensors"),
        (spoil_pickle, "blob.safetensors cannot be read as safetensors"),
        (spoil_empty, "blob.safetensors cannot be read as safetensors"),
        (os.unlink, "There is no file"),
        (spoil_nan, "Expert 'blob' has NaN or infinite values in 1 (encoder.layer.1.mlp.fc1.weight)"),
        (spoil_keys, "Expert 'blob' lacks"),
        (spoil_shapes, "Expert 'blob' has other shapes in 6"),
        (spoil_architecture, "Expert 'blob' lacks 61 ("),
    ],
)
def test_a_spoilt_expert(command, files, action, spoil, sentence):
    spoil(files / "blob.safetensors")
    method = ("--method", "ties", "--out", files / "out") if action == "merge" else ()
    experts = [f"--expert={name}={files / name}.safetensors" for name in ("blob", "grain")]
    code, out, err = command(action, "--pretrained", files / "base.safetensors", *experts, *method)
    assert (code, err.count("\n")) == (2, 1)
    assert sentence in err
    assert not (files / "out").exists()
    assert "blob" not in out


def test_a_pickle_by_its_name(refused, files):
    shutil.copy(files / "blob.safetensors", files / "blob.bin")
    line = refused("check", "--pretrained", files / "base.safetensors", "--expert", f"a={files / 'blob.bin'}")
    assert "pickled checkpoints are never opened" in line


def test_a_pretrained_model_of_no_known_backbone(refused, files):
    arguments = ("--pretrained", files / "base.safetensors", "--expert", f"a={files / 'blob.safetensors'}")
    assert "are those of 'dinov2'" in refused("check", *arguments, "--backbone", "clip_vision")
    assert "did you mean 'clip_vision'" in refused("check", *arguments, "--backbone", "clip_visoin")
    spoil_architecture(files / "base.safetensors")
    assert "none of the known backbones" in refused("check", *arguments)


def test_hostile_names_of_files(refused, files):
    expert = files / "blob.safetensors"
    for name in ("../../escape", "a/b", ".hidden", "a\x00b", "-rf"):
        named = ("--pretrained", files / "base.safetensors", f"--expert={name}={expert}", f"--expert=b={expert}")
        assert "is not a name of an expert" in refused("merge", "--method", "emr", *named, "--out", files / "out")
    assert not (files / "out").exists()


def test_nothing_foreign_is_overwritten(refused, files, toy_folder):
    folder = files / "mine"
    folder.mkdir()
    shutil.copy(files / "blob.safetensors", folder / "base.safetensors")
    before = (folder / "base.safetensors").read_bytes()
    experts = [f"--expert={name}={files / name}.safetensors" for name in ("blob", "grain")]
    for out in (folder, files):
        arguments = ("--pretrained", files / "base.safetensors", *experts, "--out", out)
        assert "is not a merge of this program" in refused("merge", "--method", "average", *arguments)
    assert (folder / "base.safetensors").read_bytes() == before


@pytest.mark.parametrize("text", ["{", "[]", '{"methd": "ties"}', '{"method": "ties", "parameters": 3}', "\xff\xfe"])
def test_a_broken_recipe_file(refused, tmp_path, text):
    file = tmp_path / "recipe.json"
    file.write_bytes(text.encode("latin-1"))
    assert "recipe" in refused("merge", "--suite", "toy", "--config", file) or text.startswith('{"method"')


@pytest.fixture
def spoilt_suite(toy_folder, tmp_path):
    """A copy of the toy suite to be spoilt."""
    folder = tmp_path / "suites" / "spoilt"
    shutil.copytree(toy_folder, folder)
    return folder


SUITE_RUN = ("--method", "average", "--experts", "blob,grain", "--evaluate", "--limit", "4")


BINARY = (
    "experts/blob.safetensors",
    "heads.safetensors",
    "data/blob/test.png",
    "data/blob/labels.safetensors",
    "backbone/model-00001-of-00001.safetensors",
)
TEXT = ("suite.toml", "backbone/config.json")


@pytest.mark.parametrize(
    ("file", "how"),
    [
        *((file, how) for file in BINARY for how in (spoil_truncated, spoil_header, os.unlink)),
        *((file, how) for file in TEXT for how in (spoil_header, os.unlink)),
    ],
)
def test_a_spoilt_suite(refused, spoilt_suite, file, how):
    how(spoilt_suite / file)
    line = refused("merge", "--suite", spoilt_suite, *SUITE_RUN)
    assert file.rpartition("/")[2] in line or "spoilt" in line or "missing" in line, line


def test_a_suite_that_names_itself_a_path(refused, spoilt_suite):
    declared = (spoilt_suite / "suite.toml").read_text()
    (spoilt_suite / "suite.toml").write_text(declared.replace('name = "toy"', 'name = "../../escape"', 1))
    assert "is not a name of a suite" in refused("merge", "--suite", spoilt_suite, *SUITE_RUN)


def test_a_defect_of_ours_is_one_line_too(command, monkeypatch):
    monkeypatch.setattr(listing, "method_list", lambda: 1 / 0)
    code, out, err = command("methods")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "ZeroDivisionError" in err
    monkeypatch.setenv("MERGESCOPE_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        command("methods")


def test_json_stays_json_when_a_check_fails(command, files):
    spoil_nan(files / "blob.safetensors")
    named = ("--pretrained", files / "base.safetensors", "--expert", f"blob={files / 'blob.safetensors'}")
    code, out, err = command("check", *named, "--json", "-")
    assert (code, err.count("\n")) == (2, 1)
    assert json.loads(out)[0]["ok"] is False
