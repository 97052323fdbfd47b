"""Scoring against the time that its matrix products alone take, and a scaling slider end to end."""

from __future__ import annotations

import time

import torch
from torch.nn.functional import linear

from merge_engine.evaluate import BATCH, score_steps
from merge_engine.merged import StaticMerged
from merge_engine.methods import build
from merge_engine.precision import live_dtype
from merge_engine.running import merge
from merge_engine.suite import Suite, load_suite
from merge_engine.weights import in_memory


def against_the_floor() -> list[dict[str, object]]:
    """Score a merge on the full score half of all seen tasks; the floor is its linear layers' products alone.

    A row in float32, which tables use, and one in bfloat16 where the page uses that.
    """
    suite = load_suite("pictures")
    merged = merge(suite.problem(), build("average"))
    for task in suite.seen:
        suite.prepared(task, "score")
    rows = []
    for dtype in dict.fromkeys((torch.float32, live_dtype())):
        seconds, pictures = _scored(suite, merged, dtype)
        floor = _products(suite, merged, pictures, dtype)
        rows.append(
            {
                "arithmetic": _name(dtype),
                "pictures": pictures,
                "score s": seconds,
                "pictures a second": pictures / seconds,
                "products alone s": floor,
                "score / products": seconds / floor,
            }
        )
    return rows


def slider() -> list[dict[str, object]]:
    """Move the scaling coefficient of a finished merge: time to the first estimate of every task, and to the end.

    In the page's arithmetic on this machine.
    """
    suite = load_suite("pictures")
    merged = merge(suite.problem(), build("task_arithmetic"))
    assert isinstance(merged, StaticMerged)
    dtype = live_dtype()
    _scored(suite, merged, dtype)
    rows = []
    for scaling in (0.2, 0.4):
        start = time.perf_counter()
        first = None
        for scores in score_steps(suite, merged.rescaled(scaling), suite.seen, first=16, dtype=dtype):
            if first is None and len(scores) == len(suite.seen):
                first = time.perf_counter() - start
        rows.append(
            {
                "arithmetic": _name(dtype),
                "scaling": scaling,
                "first estimate s": first,
                "full score half s": time.perf_counter() - start,
            }
        )
    return rows


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _scored(suite: Suite, merged: StaticMerged, dtype: torch.dtype) -> tuple[float, int]:
    start = time.perf_counter()
    steps = score_steps(suite, merged, suite.seen, dtype=dtype)
    scores = {}
    for scores in steps:  # noqa: B007
        pass
    return time.perf_counter() - start, sum(s.n for s in scores.values())


def _products(suite: Suite, merged: StaticMerged, pictures: int, dtype: torch.dtype) -> float:
    """Return the seconds of the block matrices' products for so many pictures, in the same batches."""
    weights = in_memory(merged.weights(), dtype=dtype)
    matrices = [weights[n] for n in suite.backbone.linears(suite.backbone.names(suite.module))]
    tokens = (suite.input_size // suite.config["patch_size"]) ** 2 + 1
    inputs = {m.shape[1]: torch.randn(BATCH * tokens, m.shape[1], dtype=dtype) for m in matrices}
    start = time.perf_counter()
    with torch.inference_mode():
        for _ in range(-(-pictures // BATCH)):
            for matrix in matrices:
                linear(inputs[matrix.shape[1]], matrix)
    return time.perf_counter() - start
