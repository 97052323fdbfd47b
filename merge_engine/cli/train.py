"""`train`: retrain a suite's heads and experts from its shipped pictures, or one model on all of its tasks."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from ..devices import chosen_device
from ..runs.publish import MULTITASK, table_folder
from ..runs.results import write_json
from ..save import writable
from ..suite import Suite, load_suite
from ..training.multitask import multitask_steps
from ..training.quantise import save_task_vector
from ..training.suite_training import train_suite
from . import options
from .output import check_target, emit, followed, print_table


def train(
    suite: Annotated[str, typer.Argument(help="Name of a suite, or the folder of one.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Write a complete suite here, or the multi-task model. [in place]"),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer pictures and epochs.")] = False,
    multitask: Annotated[
        bool, typer.Option("--multitask", help="Train one model on all tasks, the table's reference, and score it.")
    ] = False,
    device: options.Device = None,
    json_to: options.Json = None,
) -> None:
    """Train the heads and experts of a suite with its fixed seeds."""
    check_target(json_to)
    chosen = load_suite(suite).on(chosen_device(device))
    if multitask:
        _multitask(chosen, out, quick, json_to)
        return
    target = writable(out or chosen.folder)
    start = time.perf_counter()
    accuracy = followed(train_suite(chosen.folder, target, quick=quick, device=chosen.device), "training")
    seconds = round(time.perf_counter() - start, 1)
    if not emit({"suite": chosen.name, "out": str(target), "validation": accuracy, "seconds": seconds}, json_to):
        print_table(("expert", "validation %"), list(accuracy.items()))
        print(f"Trained in {seconds} s; written to {target}.")


def _multitask(suite: Suite, out: Path | None, quick: bool, json_to: str | None) -> None:
    """Train on all tasks; the record goes beside the results table, the model only where --out says."""
    target = None if out is None else writable(out)
    results = writable(table_folder(suite))
    vectors, record = followed(multitask_steps(suite, quick=quick), "training")
    if target is not None:
        save_task_vector(target / "multitask.safetensors", vectors, suite=suite.name, task="all")
    write_json(results / MULTITASK, record)
    if not emit(record, json_to):
        print_table(("task", "accuracy %"), list(record["accuracy"].items()))
        print(f"Average {record['average']} % on the score half, trained in {record['seconds']} s.")
