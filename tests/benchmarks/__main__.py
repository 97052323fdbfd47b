"""Run the benchmarks and print one table each: `python -m tests.benchmarks [name ...] [--small]`.

`--small` shrinks those that can be, to see that they run.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from tests.benchmarks import (
    adarank_step,
    cancelling,
    device,
    gaining,
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
    "gain": gaining.every_adaptive_method,
    "adarank": adarank_step.against_naive,
    "route": routing.against_naive,
    "router": twin_router.against_products,
    "sim": sim_scoring.against_a_static_merge,
    "paint": painting.first_paint,
    "device": device.against_the_cpu,
}
SHRINK = {"device"}


def show(title: str, rows: Iterable[dict[str, object]]) -> None:
    """Print rows as a markdown table, each as soon as it is measured."""
    print(f"\n## {title}\n")
    for place, row in enumerate(rows):
        if not place:
            print("| " + " | ".join(row) + " |")
            print("|" + "---|" * len(row))
        cells = (f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values())
        print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    small, names = "--small" in sys.argv, [word for word in sys.argv[1:] if word != "--small"]
    for name in names or BENCHMARKS:
        show(name, BENCHMARKS[name](**({"small": True} if small and name in SHRINK else {})))
