"""The store of decompositions, cold against warm."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from merge_engine.maths.svd import SvdStore
from merge_engine.suite import load_suite


def cold_and_warm(experts: int = 8) -> list[dict[str, object]]:
    """Decompose every task matrix of the bundled experts, then read them back through a new store."""
    suite = load_suite("pictures")
    problem = suite.problem(suite.experts[:experts])
    matrices = [tau for group in problem.groups() if group.is_matrix for tau in group.task_vectors]
    with tempfile.TemporaryDirectory() as folder:
        seconds = {}
        for label in ("cold", "warm"):
            store = SvdStore(Path(folder), memory_limit=0)
            start = time.perf_counter()
            for matrix in matrices:
                store(matrix)
            seconds[label] = time.perf_counter() - start
    return [
        {
            "matrices": len(matrices),
            "cold s": seconds["cold"],
            "warm s": seconds["warm"],
            "ratio": seconds["cold"] / seconds["warm"],
        }
    ]
