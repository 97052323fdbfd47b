"""Every method on the bundled suite: seconds to merge (decompositions warm), beside one pass over all experts."""

from __future__ import annotations

import time

from merge_engine.contract import Context, merge
from merge_engine.methods import build, registry
from merge_engine.suite import load_suite


def every_method() -> list[dict[str, object]]:
    """Merge all experts by each method at its published default; the floor is reading all tensors once."""
    suite = load_suite("pictures")
    problem = suite.problem()
    floor = _seconds(lambda: [group.task_vectors for group in problem.groups()])
    ctx = Context()
    rows: list[dict[str, object]] = []
    for key, cls in registry().items():
        if cls.kind == "post":
            continue
        _, high = cls.experts_allowed
        chosen = suite.experts if high is None else suite.experts[:high]
        seconds = _seconds(lambda key=key, chosen=chosen: merge(suite.problem(chosen), build(key), ctx=ctx))
        rows.append(
            {"method": key, "experts": len(chosen), "merge s": seconds, "merge / one pass": seconds / floor}
        )
    return rows


def _seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
