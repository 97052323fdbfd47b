"""Training Twin-Merging's router, after its features, beside the matrix products that it cannot do without."""

from __future__ import annotations

import time

import torch
from torch import Tensor

from merge_engine.methods.twin_merging import TwinMerging
from merge_engine.problem import Inputs
from merge_engine.routing.prediction import Changes
from merge_engine.routing.trained_router import Course, Training
from merge_engine.running import drive
from merge_engine.weights import Weights

WIDTH, TASKS, HELD = 384, 8, 100


class Features(Inputs):
    """Inputs that are features already, drawn around a centre per task."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(0)
        self.centres = torch.randn(TASKS, WIDTH, generator=self.generator)

    def train(self, task: str, count: int) -> Tensor:
        """Return `count` features of a task (count, d)."""
        return self.centres[int(task)] + torch.randn(count, WIDTH, generator=self.generator)

    def validation(self, task: str, count: int) -> Tensor:
        """Return other features of a task (count, d)."""
        return self.train(task, count)

    def features(self, weights: Weights, inputs: Tensor, changes: Changes | None = None) -> Tensor:
        """Return the inputs themselves."""
        return inputs


def against_products() -> list[dict[str, object]]:
    """Train by the cpu preset, and two epochs as published; the goal is under 15 s for the preset.

    The floor is what every update multiplies: activations by weights, and both kinds of gradients.
    """
    rows: list[dict[str, object]] = []
    for preset, most in (("cpu", None), ("published", 2)):
        method = TwinMerging(**TwinMerging.preset(preset))
        course = Course(method.examples, HELD, most or method.epochs)
        training = Training({}, "", tuple(map(str, range(TASKS))), course, torch.Generator().manual_seed(0))
        inputs = Features()
        start = time.perf_counter()
        drive(training.steps(inputs, inputs.validation))
        seconds = time.perf_counter() - start
        floor = _products(course)
        rows.append({
            "course": preset, "examples": TASKS * course.examples, "epochs": course.epochs, "training s": seconds,
            "products s": floor, "training / products": seconds / floor, "route accuracy %": max(training.accuracy),
        })  # fmt: skip
    return rows


def _products(course: Course) -> float:
    """Return the seconds of the products of one course, from as many updates as take half a second."""
    shapes = [(WIDTH, 2 * WIDTH), (2 * WIDTH, 2 * WIDTH), (2 * WIDTH, TASKS)]
    batch = min(course.batch, TASKS * course.examples)
    layers = [(torch.randn(batch, n), torch.randn(n, m), torch.randn(batch, m)) for n, m in shapes]
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < 0.5:
        for x, w, g in layers:
            x @ w, g @ w.T, x.T @ g
        done += 1
    updates = course.epochs * TASKS * course.examples / batch
    return updates * (time.perf_counter() - start) / done
