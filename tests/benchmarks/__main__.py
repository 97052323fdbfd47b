"""Run the benchmarks and print one table each: `python -m tests.benchmarks [name ...]`."""

from __future__ import annotations

import argparse
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
OPTIONS = {"device": ("small",), "gain": ("methods",)}


def show(title: str, rows: Iterable[dict[str, object]]) -> None:
    """Print rows as a markdown table, each as soon as it is measured."""
    print(f"\n## {title}\n")
    for place, row in enumerate(rows):
        if not place:
            print("| " + " | ".join(row) + " |")
            print("|" + "---|" * len(row))
        cells = (f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values())
        print("| " + " | ".join(cells) + " |", flush=True)


def asked() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"all of {', '.join(BENCHMARKS)} by default")
    parser.add_argument("--small", action="store_true", help="shrink `device`, to see that it runs")
    parser.add_argument("--methods", default=[], type=lambda keys: keys.split(","), help="keys, for `gain` alone")
    return parser.parse_args()


if __name__ == "__main__":
    told = asked()
    for name in told.names or BENCHMARKS:
        show(name, BENCHMARKS[name](**{option: getattr(told, option) for option in OPTIONS.get(name, ())}))
