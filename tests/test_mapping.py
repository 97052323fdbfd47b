"""Maps by neighbourhood in a process of their own: what is asked and answered, and that it survives its end."""

from __future__ import annotations

import io
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from merge_engine.mapping import worker
from merge_engine.mapping.process import MapProcess


def asked(*requests) -> list[np.ndarray]:
    """Return what the worker answers to requests, each a list of arrays."""
    source, target = io.BytesIO(), io.BytesIO()
    for request in requests:
        worker.write(source, *map(np.asarray, request))
    source.seek(0)
    worker.serve(source, target)
    target.seek(0)
    return [worker.read(target) for _ in requests]


def test_requests_are_answered_in_their_order_and_errors_are_told(monkeypatch):
    made = lambda features, start, *_: SimpleNamespace(  # noqa: E731
        embedding_=start + 1, transform=lambda others: others[:, :2] * 2
    )
    monkeypatch.setattr(worker, "fitted", made)
    features, start = np.arange(12.0).reshape(4, 3), np.zeros((4, 2))
    fit, place = ([worker.FIT, 7], features, start, [3, 0]), ([worker.PLACE, 7], features[:1])
    first, second, third = asked(fit, place, ([worker.PLACE, 8], features[:1]))
    assert np.array_equal(first, start + 1)
    assert np.array_equal(second, features[:1, :2] * 2)
    assert third.tobytes().decode().startswith("KeyError")
    monkeypatch.setattr(worker, "KEPT", 1)
    *_, gone = asked(fit, ([worker.FIT, 8], features, start, [3, 0]), place)
    assert gone.dtype == np.uint8, "the oldest of too many maps left"


def test_few_points_need_no_process():
    process = MapProcess()
    features = np.random.default_rng(1).normal(size=(3, 5))
    assert process.fit(features).shape == (3, 2)
    assert process.place(features, features[:1])[0] == pytest.approx(process.fit(features)[0])
    assert process._process is None


def test_the_worker_loads_nothing_of_the_engine():
    heavy = "{'torch', 'umap', 'gradio'} & {*sys.modules}"
    code = f"import runpy, sys; runpy.run_path({worker.__file__!r}); print({heavy})"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"


@pytest.mark.slow
@pytest.mark.timeout(900)  # it compiles UMAP
def test_a_map_repeats_keeps_clusters_apart_and_takes_others():
    random = np.random.default_rng(5)
    features = np.concatenate([random.normal(9 * i, 1, (20, 8)) for i in range(3)]).astype(np.float32)
    process = MapProcess(niceness=0)
    try:
        first = process.fit(features)
        assert np.array_equal(first, process.fit(features))
        assert not np.array_equal(first, process.fit(features, seed=1))
        centres = first.reshape(3, 20, 2).mean(1)
        inside = np.linalg.norm(first.reshape(3, 20, 2) - centres[:, None], axis=-1).max()
        assert min(np.linalg.norm(centres[i] - centres[j]) for i, j in ((0, 1), (0, 2), (1, 2))) > inside
        place = process.place(features, features[:1] + 0.1)
        nearest = lambda at: int(np.linalg.norm(centres - at, axis=1).argmin())  # noqa: E731
        assert nearest(place[0]) == 0
    finally:
        process.close()


PLAIN = """
import runpy, types
worker = types.SimpleNamespace(**runpy.run_path({path!r}))
made = lambda features, start, *_: types.SimpleNamespace(embedding_=start, transform=lambda others: others[:, :2] * 2)
worker._fit.__globals__.update(fitted=made, warm=lambda: None)
worker.main()
"""


def test_others_are_placed_after_the_process_has_died(monkeypatch, tmp_path):
    (file := tmp_path / "plain.py").write_text(PLAIN.format(path=worker.__file__))
    monkeypatch.setattr(worker, "__file__", str(file))
    features = np.random.default_rng(5).normal(size=(20, 8)).astype(np.float32)
    process = MapProcess()
    try:
        first = process.fit(features)
        place = process.place(features, features[:1])
        assert place == pytest.approx(features[:1, :2] * 2)
        process._process.kill()
        process._process.wait()
        assert process.place(features, features[:1]) == pytest.approx(place)
        assert process.fit(features) == pytest.approx(first)
        with pytest.raises(RuntimeError, match="KeyError"):
            process._asked(worker.PLACE, 99, features[:1])
    finally:
        process.close()
