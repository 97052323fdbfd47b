"""Every command, in this process: what it prints, writes and returns."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from merge_engine.cli import train
from merge_engine.contract import Step
from merge_engine.evaluate import Fixed, score
from merge_engine.methods import build, registry
from merge_engine.metrics import registry as metrics
from merge_engine.running import drive, merge
from merge_engine.runs.recipe import Recipe
from merge_engine.save import save_steps
from merge_engine.weights import SafetensorsWeights

ROOT = Path(__file__).resolve().parents[1]
KEYS = [
    "suite", "method", "parameters", "experts", "protocol", "accuracy", "average", "normalised_average",
    "stored_parameters", "seconds", "warnings",
]  # fmt: skip


TIES = ("merge", "--suite", "toy", "--experts", "blob,grain", "--method", "ties")


def printed(answer: tuple[int, str, str]):
    """Return the JSON of a command that went well; nothing else is on stdout."""
    code, out, err = answer
    assert code == 0, err
    return json.loads(out)


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, env={**os.environ, **environment}
    )


def test_suites_methods_and_metrics_are_listed(command):
    assert "toy" in {suite["name"] for suite in printed(command("suites", "--json", "-"))}
    methods = printed(command("methods", "--json", "-"))
    assert {m["key"] for m in methods} == set(registry())
    assert all({"key", "kind", "needs", "title", "paper", "parameters"} <= set(m) for m in methods)
    assert {m["key"] for m in printed(command("metrics", "--json", "-"))} == set(metrics())
    assert "properties" in printed(command("methods", "--schema"))
    for name in ("suites", "methods", "metrics"):
        code, out, err = command(name)
        assert (code, err) == (0, "")
        assert "toy" in out or "task_arithmetic" in out or "cosine" in out


def test_merge_prints_one_object(command, toy):
    arguments = ("--experts", "stripes,colour", "--method", "task_arithmetic", "--set", "scaling=0.5", "--limit", 8)
    found = printed(command("merge", "--suite", "toy", *arguments, "--evaluate", "--json", "-"))
    assert set(KEYS) <= set(found)
    assert found["parameters"] == {"scaling": 0.5}
    assert found["experts"] == ["stripes", "colour"]
    assert set(found["accuracy"]) == {"stripes", "colour"}
    merged = merge(toy.problem(("stripes", "colour")), build("task_arithmetic", scaling=0.5))
    for task, numbers in found["accuracy"].items():
        assert set(numbers) == {"merged", "expert", "pretrained", "n"}
        assert numbers["n"] == 8
        assert numbers["merged"] == score(toy, merged, [task], limit=8)[task].accuracy
        assert numbers["expert"] == score(toy, Fixed(toy.expert(task)), [task], limit=8)[task].accuracy
        assert numbers["pretrained"] == score(toy, Fixed(toy.pretrained_in_memory), [task], limit=8)[task].accuracy
    assert found["average"] == pytest.approx(sum(a["merged"] for a in found["accuracy"].values()) / 2)
    assert set(found["seconds"]) == {"merge", "score"}


def test_json_goes_to_a_file_and_a_table_to_people(command, tmp_path):
    file = tmp_path / "result.json"
    arguments = ("--suite", "toy", "--experts", "blob,grain", "--method", "average", "--evaluate", "--limit", 4)
    code, out, _ = command("merge", *arguments, "--tasks", "all", "--json", file)
    assert code == 0
    assert "pretrained %" in out
    assert "{" not in out
    assert "shape" in json.loads(file.read_text())["accuracy"]


def test_two_experts_for_cart_are_worth_a_warning(command):
    found = printed(command("merge", "--suite", "toy", "--experts", "blob,grain", "--method", "cart", "--json", "-"))
    assert any("equals the weight average" in warning for warning in found["warnings"])
    assert found["accuracy"] == {}
    assert found["average"] is None


def test_post_steps_take_parameters_by_their_key(command):
    settings = ("--set", "scaling=0.4", "--set", "lines.beta=0.2", "--post", "lines", "--post", "svc")
    found = printed(command(*TIES, *settings, "--json", "-"))
    assert found["parameters"]["scaling"] == 0.4
    assert [(s["method"], s["parameters"].get("beta")) for s in found["post"]] == [("lines", 0.2), ("svc", None)]


def test_options_win_over_the_recipe_file(command, tmp_path):
    recipe = {"suite": "toy", "experts": ["blob", "grain"], "method": "ties", "parameters": {"density": 0.3}, "seed": 4}
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps({**recipe, "post": ["svc"]}))
    found = printed(command("merge", "--config", file, "--set", "scaling=0.8", "--set", "svc.floor=1", "--json", "-"))
    assert (found["parameters"]["density"], found["parameters"]["scaling"], found["seed"]) == (0.3, 0.8, 4)
    assert found["post"][0]["parameters"]["floor"] == 1
    other = printed(command("merge", "--config", file, "--method", "average", "--seed", 5, "--json", "-"))
    assert (other["method"], other["parameters"], other["seed"]) == ("average", {}, 5)


def test_a_merge_is_written_in_the_layout_of_its_pretrained_model(command, toy, tmp_path):
    out = tmp_path / "merged"
    arguments = ("merge", "--suite", "toy", "--method", "task_arithmetic", "--out", out, "--json", "-")
    found = printed(command(*arguments))
    written, base = SafetensorsWeights(out), toy.pretrained
    merged = merge(toy.problem(), build("task_arithmetic")).weights()
    assert set(written) == set(base)
    for name in written:
        assert written.info(name) == base.info(name)
        assert torch.equal(written[name], merged[name].to(base[name].dtype))
    assert [f.name for f in written.files] == [f.name for f in base.files]
    assert (out / "config.json").is_file()
    assert json.loads((out / "recipe.json").read_text())["method"] == "task_arithmetic"
    assert json.loads(written.metadata["mergescope_recipe"])["experts"] == found["experts"]
    assert not list(out.glob("*.part"))
    before = written.files[0].stat().st_mtime_ns
    assert "already holds" in printed(command(*arguments))["warnings"][0]
    assert written.files[0].stat().st_mtime_ns == before
    printed(command(*arguments, "--set", "scaling=0.1"))
    assert written.files[0].stat().st_mtime_ns != before


def test_only_missing_shards_are_written_again(tmp_path, problem):
    sharded = tmp_path / "base"
    sharded.mkdir()
    names = sorted(problem.pretrained)
    files = {n: f"model-0000{1 + i % 3}-of-00003.safetensors" for i, n in enumerate(names)}
    for file in set(files.values()):
        save_file({n: problem.pretrained[n].half() for n in names if files[n] == file}, sharded / file)
    (sharded / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    base = SafetensorsWeights(sharded)
    recipe, out = Recipe("", problem.tasks, "average"), tmp_path / "out"
    steps = save_steps(merge(problem, build("average")), base, out, recipe, "source")
    next(steps)
    steps.close()
    first = next(out.glob("*.safetensors"))
    made = first.stat().st_mtime_ns
    labels: list[str] = []
    drive(save_steps(merge(problem, build("average")), base, out, recipe, "source"), lambda s: labels.append(s.label))
    assert [("already" in label) for label in labels] == [True, False, False]
    assert first.stat().st_mtime_ns == made
    assert set(SafetensorsWeights(out)) == set(names)


def test_a_per_task_merge_becomes_a_folder_per_task(command, toy, tmp_path):
    out = tmp_path / "masks"
    printed(command(*TIES, "--method", "emr", "--out", out, "--json", "-"))
    assert {folder.name for folder in out.iterdir()} == {"blob", "grain"}
    weights = merge(toy.problem(("blob", "grain")), build("emr")).weights("grain")
    written = SafetensorsWeights(out / "grain")
    assert all(torch.equal(written[n], weights[n].to(written[n].dtype)) for n in written)


def test_files_outside_a_suite_are_merged(command, toy, toy_folder, tmp_path):
    experts = [f"{name}={toy_folder / 'experts' / name}.safetensors" for name in ("blob", "grain")]
    files = ("--pretrained", toy_folder / "backbone", "--expert", experts[0], "--expert", experts[1])
    code, out, err = command("merge", *files, "--method", "ties", "--out", tmp_path / "out", "--json", "-")
    assert (code, err.count("fits the pretrained model")) == (0, 2)
    assert (json.loads(out)["suite"], json.loads(out)["experts"]) == ("", ["blob", "grain"])
    printed(command(*TIES, "--out", tmp_path / "o", "--json", "-"))
    first, second = SafetensorsWeights(tmp_path / "out"), SafetensorsWeights(tmp_path / "o")
    assert all(torch.equal(first[n], second[n]) for n in first)
    report = printed(command("check", *files, "--json", "-"))
    assert [(r["expert"], r["ok"]) for r in report] == [("blob", True), ("grain", True)]


def test_inspect_prints_a_table_json_or_csv(command):
    arguments = ("inspect", "--suite", "toy", "--experts", "blob,grain", "--metric", "cosine", "--level", "all")
    rows = printed(command(*arguments, "--json", "-"))
    assert (rows[0]["expert"], rows[0]["other"]) == ("blob", "grain")
    code, out, _ = command(*arguments, "--csv", "-")
    assert code == 0
    assert float(next(csv.DictReader(io.StringIO(out)))["cosine"]) == pytest.approx(rows[0]["cosine"])
    code, out, _ = command(*arguments)
    assert "Cosine" in out
    assert "blob" in out
    merged = ("--method", "task_arithmetic", "--set", "task_arithmetic.scaling=1")
    rows = printed(command("inspect", "--suite", "toy", "--metric", "norms", "--level", "all", *merged, "--json", "-"))
    assert [row["expert"] for row in rows][-1] == "merged"


def test_a_small_table_is_printed_and_written(command, tmp_path):
    small = ("table", "--suite", "toy", "--limit", 4, "--validation", 4, "--out", tmp_path, "--json", "-")
    rows = printed(command(*small, "--methods", "average,task_arithmetic"))
    assert [(r["method"], r["setting"]) for r in rows] == [
        ("average", "default"), ("task_arithmetic", "default"), ("task_arithmetic", "validation"),
    ]  # fmt: skip
    assert all(set(KEYS) <= set(row) for row in rows)
    table = json.loads((tmp_path / "table.json").read_text())
    assert table["rows"] == rows
    assert set(table["baselines"]["matrix"]) == {"pretrained", "stripes", "blob", "colour", "grain"}
    assert "| Task Arithmetic |" in (tmp_path / "table.md").read_text()
    more = printed(command(*small, "--methods", "magmax"))
    kept = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert [r["method"] for r in kept] == ["average", "magmax", "magmax", "task_arithmetic", "task_arithmetic"]
    assert more == [r for r in kept if r["method"] == "magmax"]


def test_the_studies_of_a_table_are_written(command, tmp_path):
    small = ("table", "--suite", "toy", "--limit", 4, "--out", tmp_path)
    code, _, err = command(*small, "--parts", "draws")
    assert code == 0
    assert "draws: 4 rows" in err
    assert "| Mahalanobis distance |" in (tmp_path / "draws.md").read_text()
    code, _, err = command(*small, "--parts", "robustness", "--severities", "5")
    assert code == 0
    assert "robustness: 16 rows" in err
    assert "| pretrained model |" in (tmp_path / "robustness.md").read_text()
    for wrong in (("--parts", "draw"), ("--severities", "0,6"), ("--severities", ""), ("--adapted", "noisy")):
        code, _, err = command(*small, *wrong)
        assert code == 2
        assert len(err.strip().splitlines()) == 1


def test_help_is_printed_without_a_command(command):
    code, out, err = command()
    assert (code, err) == (0, "")
    assert all(name in out for name in ("merge", "inspect", "table", "train", "check"))
    assert command("merge", "--help")[0] == 0


def test_train_follows_the_training(command, monkeypatch, toy_folder, tmp_path):
    def training(source, target, *, quick, device):
        yield Step(1, 1, f"{source.name} {quick} {device}")
        return {"blob": 50.0}

    monkeypatch.setattr(train, "train_suite", training)
    found = printed(command("train", toy_folder, "--quick", "--out", tmp_path / "again", "--json", "-"))
    assert (found["suite"], found["validation"]) == ("toy", {"blob": 50.0})
    assert "blob" in command("train", toy_folder, "--out", tmp_path / "again")[1]


def test_the_reference_is_checked(command):
    code, out, err = command("reference")
    assert (code, err) == (0, "")
    assert out.startswith("# Merge methods")


def test_as_a_program(toy_folder, tmp_path):
    own = {"MERGESCOPE_SUITES": str(toy_folder.parent), "MERGESCOPE_CACHE": str(tmp_path), "OMP_NUM_THREADS": "1"}
    arguments = ("merge", "--suite", "toy", "--method", "average", "--json", "-")
    good = python("-m", "merge_engine", *arguments, **own)
    assert (good.returncode, good.stderr) == (0, "")
    assert json.loads(good.stdout)["method"] == "average"
    bad = python("-m", "merge_engine", "merge", "--suite", "toy", "--method", "averge", **own)
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr == "Error: No merge method named 'averge'. Did you mean 'average'?\n"
