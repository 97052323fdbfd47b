"""Histories of adaptations on disk: with a result, and beside a table."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from merge_engine.adapting.history import History
from merge_engine.running import drive
from merge_engine.runs import results, trajectories
from merge_engine.runs.content import suite_digest
from merge_engine.runs.publish import write_table
from merge_engine.runs.results import Result, Results, trajectory_file
from merge_engine.runs.run import Protocol, recipe_for, run_steps
from merge_engine.runs.table import CPU, TRANSDUCTIVE, TableRun, entries, reference_steps

ADAPTIVE = {
    "adarank": {"steps": 3, "batch": 2, "mask_rate": 0.5, "base": "cart"},
    "adamerging": {"steps": 3, "batch": 2},
    "we_moe": {"steps": 2, "batch": 2},
    "e_we_moe": {"steps": 2, "batch": 2},
    "rankone_moe": {"steps": 2, "batch": 2, "components": 2},
    "surgery": {"steps": 2},
}


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MERGESCOPE_CACHE", str(tmp_path / "cache"))


def long_history(states: int, size: int = 8) -> History:
    found = History(("a", "b"), ("x", "y"), {"x": 8 * size})
    for step in range(states):
        found.steps.append(step)
        masks = np.full((2, size), step % 256, np.uint8)
        found.states.append({"masks/x": masks, "coefficients": np.full((2, 2), step, np.float32)})
    for step in range(states - 1):
        found.entropy.append([step, step + 1])
        found.seconds.append(step / 2)
    return found


def equal(first: History, second: History) -> bool:
    same = (first.tasks, first.tensors, dict(first.ranks), first.steps) == (
        second.tasks, second.tensors, dict(second.ranks), second.steps
    )  # fmt: skip
    close = np.allclose(first.entropy, second.entropy) and np.allclose(first.seconds, second.seconds)
    pairs = zip(first.states, second.states, strict=True)
    return same and close and all(
        set(a) == set(b) and all(np.array_equal(a[n], b[n]) and a[n].dtype == b[n].dtype for n in a) for a, b in pairs
    )  # fmt: skip


@pytest.mark.parametrize("method", ADAPTIVE)
def test_a_history_is_found_with_its_result(toy, method):
    recipe = recipe_for(toy, method, ADAPTIVE[method], toy.experts[:2])
    run = drive(run_steps(toy, recipe, Protocol(limit=4)))
    content, store = suite_digest(toy, recipe.experts, "score"), Results(toy.name)
    assert store.history(recipe, content, limit=4) is None
    store.save(run.result, run.merged.history)
    found = store.history(recipe, content, limit=4)
    assert equal(run.merged.history, found)
    assert store.history(recipe, content) is None
    assert store.history(recipe, content, limit=4, half="score") is None
    assert store.history(recipe, "other content", limit=4) is None


def test_masks_and_routes_are_there(toy):
    recipe = recipe_for(toy, "adarank", ADAPTIVE["adarank"], toy.experts[:2])
    history = drive(run_steps(toy, recipe, None)).merged.history
    masks = {name.removeprefix("masks/") for name in history.states[0] if name.startswith("masks/")}
    assert masks == set(history.ranks) <= set(history.tensors)
    for name, rank in history.ranks.items():
        assert rank == min(toy.pretrained.info(name).shape)
    routed = drive(run_steps(toy, recipe_for(toy, "we_moe", ADAPTIVE["we_moe"]), None)).merged.history
    tasks = len(toy.experts)
    assert routed.over_time("routes").shape == (3, tasks, routed.states[0]["routes"].shape[1], tasks)


def test_routes_of_another_shape_count_as_damaged(tmp_path):
    found = History(("a", "b"), steps=[0], states=[{"routes": np.zeros((2, 3, 2), np.float32)}])
    file = tmp_path / "one.safetensors"
    file.write_bytes(trajectories.packed(found, "key"))
    assert equal(trajectories.read(file, "key"), found)
    found.states = [{"routes": np.zeros((2, 3, 4), np.float32)}]
    file.write_bytes(trajectories.packed(found, "key"))
    assert trajectories.read(file, "key") is None


def test_long_and_large_histories_are_thinned():
    found = trajectories.packed(long_history(60), "key")
    assert len(found) < 20_000
    kept = long_history(60).thinned(trajectories.STATES)
    assert (len(kept.steps), kept.steps[0], kept.steps[-1]) == (trajectories.STATES, 0, 59)
    assert set(np.diff(kept.steps)) <= {4, 5}
    assert len(trajectories.packed(long_history(40, size=150_000), "key")) < 1_000_000
    assert trajectories.packed(History(("a",)), "key")


@pytest.mark.parametrize("damage", ["cut", "empty", "pickle", "header", "foreign", "shape", "order", "kind"])
def test_what_is_damaged_counts_as_none(tmp_path, damage):
    file, history = tmp_path / "one.safetensors", long_history(5)
    data = trajectories.packed(history, "key")
    file.write_bytes(data)
    assert equal(trajectories.read(file, "key"), history)
    assert trajectories.read(file, "another key") is None
    arrays, about = load_file(file), {"tasks": ["a", "b"], "tensors": ["x", "y"], "ranks": {"x": 64}}
    words = {"format": trajectories.FORMAT, "key": "key", "history": json.dumps(about)}
    match damage:
        case "cut":
            file.write_bytes(data[: len(data) // 2])
        case "empty":
            file.write_bytes(b"")
        case "pickle":
            file.write_bytes(b"\x80\x04cposix\nsystem\n.")
        case "header":
            file.write_bytes(b"\xff" * 8 + data[8:])
        case "foreign":
            save_file(arrays, file, {**words, "format": "pt"})
        case "shape":
            save_file({**arrays, "state/masks/x": arrays["state/masks/x"][:, :, :3].copy()}, file, words)
        case "order":
            save_file({**arrays, "steps": arrays["steps"][::-1].copy()}, file, words)
        case "kind":
            save_file(arrays, file, {**words, "history": "[1, 2]"})
    assert trajectories.read(file, "key") is None
    assert trajectories.read(tmp_path / "not there.safetensors", "key") is None


def test_a_resumed_table_ships_its_trajectories(toy, tmp_path, monkeypatch):
    short = {"cpu": {"steps": 2, "batch": 2}}
    lines = entries(["adamerging"])
    monkeypatch.setattr("merge_engine.methods.adamerging.AdaMerging.presets", short)
    run = TableRun(toy, limit=4, validation=4)
    steps = run.steps(lines)
    while f"adamerging/{CPU}" not in run.stored:
        next(steps)
    steps.close()
    rows = drive(TableRun(toy, limit=4, validation=4).steps(lines))
    assert {row["setting"] for row in rows} == {CPU, TRANSDUCTIVE}
    monkeypatch.setattr(results, "SHIPPED", tmp_path / "shipped")
    folder = tmp_path / "shipped" / toy.name
    reference = drive(reference_steps(toy, 4))
    (folder / "trajectories").mkdir(parents=True)
    (folder / "trajectories" / "of-no-row.safetensors").write_bytes(b"old")
    write_table(toy, rows, reference, folder)
    found = sorted(file.name for file in (folder / "trajectories").iterdir())
    assert found == sorted(trajectory_file(row["recipe"], row["half"]).split("/")[1] for row in rows)
    assert {row["half"] for row in rows} == {"adapt", "score"}
    monkeypatch.setenv("MERGESCOPE_CACHE", str(tmp_path / "another machine"))
    for row in rows:
        result, recipe = Result.from_dict(row), lines[0].recipe(toy, CPU)
        history = Results(toy.name).history(recipe, result.content, limit=4, half=result.half)
        assert history is not None
        assert history.steps == [0, 1, 2]
        assert len(row["curve"]) >= 1
    write_table(toy, rows, reference, folder)
    assert sorted(file.name for file in (folder / "trajectories").iterdir()) == found
