"""Shared problems: random tensors with the names of a small transformer, and nothing to download."""

from __future__ import annotations

import dataclasses
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from chromium import CHROMIUM, FLAGS

from merge_engine.contract import Context
from merge_engine.devices import chosen_device
from merge_engine.embedding import pca
from merge_engine.maths.svd import SvdStore
from merge_engine.problem import Place, Problem
from merge_engine.suite import Suite, load_suite
from merge_engine.suites.toy import build_toy
from viz import theme

torch.set_num_threads(1)
theme.CHECKED = True
elsewhere: str | None = "cuda"
if not torch.cuda.is_available():
    try:  # before the first backward pass: devices that come later get no thread for theirs
        from elsewhere import NAME as elsewhere
    except ImportError:
        elsewhere = None

SHAPES = {"q": (8, 8), "k": (8, 8), "v": (8, 8), "out": (8, 8), "fc1": (16, 8), "fc2": (8, 16)}


class SmallTransformer:
    """Names such as `blocks.1.fc1.weight`; two blocks, an embedding and a final norm around them."""

    def place(self, name: str) -> Place:
        found = re.match(r"blocks\.(\d+)\.(\w+)\.(weight|bias)", name)
        if not found:
            return Place(None, "embedding" if "embed" in name else "norm")
        block, kind, what = int(found[1]), found[2], found[3]
        return Place(block, kind if what == "weight" else ("norm" if kind == "norm" else "bias"))

    def fused(self, names) -> list[tuple[str, ...]]:
        names = set(names)
        groups = [tuple(f"blocks.{b}.{k}.weight" for k in "qkv") for b in range(2)]
        return [group for group in groups if set(group) <= names]


def small_weights(seed: int, scale: float = 1.0) -> dict[str, torch.Tensor]:
    """Return random float32 weights of the small transformer."""
    g = torch.Generator().manual_seed(seed)
    weights = {"embed.weight": torch.randn(5, 8, generator=g) * scale}
    for block in range(2):
        for kind, shape in SHAPES.items():
            weights[f"blocks.{block}.{kind}.weight"] = torch.randn(shape, generator=g) * scale
            weights[f"blocks.{block}.{kind}.bias"] = torch.randn(shape[0], generator=g) * scale
        weights[f"blocks.{block}.norm.weight"] = 1 + torch.randn(8, generator=g) * scale
    weights["norm.weight"] = 1 + torch.randn(8, generator=g) * scale
    return weights


def small_problem(tasks: int = 4, *, seed: int = 0, scale: float = 0.1, inputs=None) -> Problem:
    """Return a problem of random task vectors; `scale` is their size beside unit pretrained weights."""
    pretrained = small_weights(seed)
    experts = {}
    for t in range(tasks):
        noise = small_weights(1000 + 100 * seed + t, scale)
        experts[f"task{t}"] = {n: w + (noise[n] - (1 if "norm" in n else 0)) for n, w in pretrained.items()}
    return Problem(pretrained, experts, SmallTransformer(), inputs)


def moved_outside(problem: Problem, scale: float = 0.1) -> Problem:
    """Return a problem whose experts differ outside the blocks too, as after fine-tuning everything."""
    draw = torch.Generator().manual_seed(11)
    outside = [n for n in problem.pretrained if problem.architecture.place(n).block is None]
    experts = {}
    for task, expert in problem.experts.items():
        own = {n: expert[n] for n in expert}
        experts[task] = own | {n: own[n] + scale * torch.randn(own[n].shape, generator=draw) for n in outside}
    return dataclasses.replace(problem, experts=experts)


def fresh() -> Context:
    """Return a context that keeps nothing on disk."""
    return Context(svd=SvdStore(folder=None))


def some(toy, count: int = 2) -> torch.Tensor:
    """Return inputs of every task that has an expert, task by task."""
    return torch.cat([toy.prepared(task, "score")[:count] for task in toy.experts])


def said(merged, network, inputs, task=None):
    """Return what a merge predicts for a batch of inputs."""
    with torch.inference_mode():
        return merged.predictor(network)(inputs, task)


def draw_plain_maps(bench: Any) -> None:
    """Have a workbench draw principal planes where it would draw UMAP, which takes long to compile."""
    bench.near.embed = lambda features: pca(features).coordinates
    bench.near.put = lambda features, others: pca(features).place(others)


@pytest.fixture(scope="session")
def device() -> torch.device:
    """CUDA, or where there is none a device that refuses what CUDA refuses."""
    if elsewhere is None:
        pytest.skip("this torch lets no device be written in Python")
    return chosen_device(elsewhere)


@pytest.fixture
def problem() -> Problem:
    return small_problem()


@pytest.fixture
def ctx() -> Context:
    return fresh()


@pytest.fixture(scope="session")
def toy_folder(tmp_path_factory) -> Path:
    """The toy suite on disk, built once for all workers of a run; read only."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if os.environ.get("PYTEST_XDIST_WORKER") else shared
    folder, ready = shared / "toy", shared / "toy.ready"
    try:
        os.close(os.open(shared / "toy.lock", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        while not ready.exists():
            time.sleep(0.1)
        return folder
    build_toy(folder)
    ready.touch()
    return folder


@pytest.fixture(scope="session")
def toy(toy_folder) -> Suite:
    """The toy suite, loaded."""
    return Suite(toy_folder)


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory) -> Path:
    """A cache of this worker's own, so that nothing is read from or left in the user's."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def toy_by_name(toy_folder, tmp_path, monkeypatch) -> None:
    """The toy suite by its name, and a cache of the test's own."""
    monkeypatch.setenv("MERGESCOPE_SUITES", str(toy_folder.parent))
    monkeypatch.setenv("MERGESCOPE_CACHE", str(tmp_path))


@pytest.fixture(scope="module")
def toy_suite(toy_folder, tmp_path_factory):
    """The toy suite by its name for a whole module, and a cache of the module's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MERGESCOPE_SUITES", str(toy_folder.parent))
        patch.setenv("MERGESCOPE_CACHE", str(tmp_path_factory.mktemp("cache")))
        load_suite.cache_clear()
        yield load_suite("toy")


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium, driven by playwright; skips where either is missing."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium-headless-shell)")
    api = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def bench():
    """A workbench whose pace a test sets."""
    from visits import PatientBench

    return PatientBench()


@pytest.fixture(scope="module")
def opening() -> Any:
    """What stands on the page before it is built; empty unless a test draws it."""
    from viz.page.opening import Opening

    return Opening()


@pytest.fixture(scope="module")
def url(toy_folder, bench, opening, tmp_path_factory) -> Iterator[str]:
    """The address of a running app that knows the toy suite."""
    import app

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MERGESCOPE_SUITES", str(toy_folder.parent))
        patch.setenv("MERGESCOPE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(theme, "CHECKED", False)  # as visitors have it
        demo = app.build_demo(bench)
        _, address, _ = demo.launch(
            **app.launch_settings(opening), server_port=free_port(), prevent_thread_lock=True, quiet=True
        )
        bench.sessions = demo.app.state_holder.session_data
        yield address
        demo.close()


@pytest.fixture
def visit(browser, url, bench) -> Iterator[Callable]:
    """Open the page; afterwards no script may have failed and no request may have left the machine."""
    from visits import idle as until_idle
    from visits import is_outside

    wrong: list[str] = []
    contexts = []

    def open_page(query: str = "?suite=toy", *, idle: bool = True, script: str = "", **settings):
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **settings})
        contexts.append(context)
        page = context.new_page()
        page.add_init_script(script) if script else None
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: wrong.append(f"script: {error}"))
        page.on("request", lambda request: wrong.append(request.url) if is_outside(request.url) else None)
        page.goto(url + query)
        page.wait_for_selector(".mp-toggle")
        page.wait_for_selector("#panel-interference .main-svg")
        until_idle(page) if idle else None
        return page

    yield open_page
    bench.pause = 0.0
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def command(capsys, monkeypatch, toy_folder, cache_folder):
    """Run the command line in this process: arguments to (exit code, stdout, stderr); knows the suite `toy`."""
    from merge_engine.__main__ import main

    monkeypatch.setenv("MERGESCOPE_CACHE", str(cache_folder))
    monkeypatch.setenv("MERGESCOPE_SUITES", str(toy_folder.parent))

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(a) for a in arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def free_port() -> int:
    """Return a port that nobody listens on; two workers that search the same range would race for it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
