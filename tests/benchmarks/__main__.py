"""Run the benchmarks and print one table each: `python -m tests.benchmarks [name ...]`."""

from __future__ import annotations

import sys

from tests.benchmarks import (
    adarank_step,
    cancelling,
    merging,
    painting,
    routing,
    scoring,
    sim_scoring,
    store,
    twin_router,
)

BENCHMARKS = {
    "store": store.cold_and_warm,
    "score": scoring.against_the_floor,
    "slider": scoring.slider,
    "merge": merging.every_method,
    "cancel": cancelling.every_method,
    "adarank": adarank_step.against_naive,
    "route": routing.against_naive,
    "router": twin_router.against_products,
    "sim": sim_scoring.against_a_static_merge,
    "paint": painting.first_paint,
}


def show(title: str, rows: list[dict[str, object]]) -> None:
    """Print rows as a markdown table."""
    print(f"\n## {title}\n")
    columns = list(rows[0])
    print("| " + " | ".join(columns) + " |")
    print("|" + "---|" * len(columns))
    for row in rows:
        cells = (f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values())
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    for name in sys.argv[1:] or BENCHMARKS:
        show(name, BENCHMARKS[name]())
