"""SiM from its support pictures to all scores, beside scoring one static merge."""

from __future__ import annotations

import time

from merge_engine.contract import Context
from merge_engine.evaluate import score
from merge_engine.merged import Merged
from merge_engine.methods import build
from merge_engine.routing.routed import RoutedMerged
from merge_engine.running import merge
from merge_engine.suite import Suite, load_suite

ROUNDS = 2


def against_a_static_merge(limit: int | None = None) -> list[dict[str, object]]:
    """Score SiM on the score half, its manifolds fitted anew, and a static merge in turn; the goal is at most 2.2.

    SiM runs the pretrained model and one expert on every picture, so no less than 2 is possible. Its store of experts
    is made beforehand, as the static merge is: whole experts, and the factored ones of the published default.
    """
    return [_over(store, limit) for store in ("experts", "tsv_c")]


def _over(store: str, limit: int | None) -> dict[str, object]:
    suite = load_suite("pictures")
    problem = suite.problem()
    static = merge(problem, build("task_arithmetic"))
    sim = build("sim", store=store)
    merged = merge(problem, sim)
    assert isinstance(merged, RoutedMerged)
    for task in suite.seen:
        suite.prepared(task, "score")
    seconds = {"static": [], "sim": [], "fit": []}
    for _ in range(ROUNDS):
        seconds["static"].append(_scored(suite, static, limit))
        start = time.perf_counter()
        router = sim.chooser().fit(problem, Context())
        seconds["fit"].append(time.perf_counter() - start)
        seconds["sim"].append(_scored(suite, RoutedMerged(merged.store, router), limit))
    best = {name: min(taken) for name, taken in seconds.items()}
    pictures = sum(len(suite.labels(task, "score")[:limit]) for task in suite.seen)
    return {
        "store": store, "pictures": pictures, "static s": best["static"], "manifolds s": best["fit"],
        "SiM s": best["sim"], "(manifolds + SiM) / static": (best["fit"] + best["sim"]) / best["static"],
    }  # fmt: skip


def _scored(suite: Suite, merged: Merged, limit: int | None) -> float:
    start = time.perf_counter()
    score(suite, merged, suite.seen, limit=limit)
    return time.perf_counter() - start
