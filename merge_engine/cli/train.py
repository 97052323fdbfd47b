"""`train`: retrain a suite's heads and experts from its shipped pictures."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from ..save import writable
from ..suite import load_suite
from ..training.suite_training import train_suite
from . import options
from .output import check_target, emit, followed, print_table


def train(
    suite: Annotated[str, typer.Argument(help="Name of a suite, or the folder of one.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write a complete suite here. [in place]")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer pictures and epochs.")] = False,
    json_to: options.Json = None,
) -> None:
    """Train the heads and experts of a suite with its fixed seeds."""
    check_target(json_to)
    chosen = load_suite(suite)
    target = writable(out or chosen.folder)
    start = time.perf_counter()
    accuracy = followed(train_suite(chosen.folder, target, quick=quick), "training")
    seconds = round(time.perf_counter() - start, 1)
    if not emit({"suite": chosen.name, "out": str(target), "validation": accuracy, "seconds": seconds}, json_to):
        print_table(("expert", "validation %"), list(accuracy.items()))
        print(f"Trained in {seconds} s; written to {target}.")
