"""The drawn tasks of the toy suite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .splits import named_seed

SIDE = 32
NOISE = 30.0
Draw = Callable[[int, np.random.Generator], np.ndarray]

_ROW, _COLUMN = np.mgrid[:SIDE, :SIDE].astype(np.float32)


@dataclass(frozen=True)
class ToyTask:
    """A drawn task: `draw(label, rng)` gives one picture with values around 0 … 1, grey or RGB."""

    name: str
    title: str
    classes: tuple[str, ...]
    draw: Draw
    seen: bool = True


def draw_task(task: ToyTask, count: int, seed: int, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Pictures uint8 (N, 32, 32[, 3]) and balanced labels int64 (N,) in shuffled order."""
    draw = np.random.default_rng(named_seed("toy", task.name, part, str(seed)))
    labels = draw.permutation(np.arange(count) % len(task.classes))
    clean = np.stack([task.draw(int(label), draw) for label in labels])
    noisy = 40 + 175 * clean + NOISE * draw.standard_normal(clean.shape)
    return noisy.clip(0, 255).astype(np.uint8), labels


def _stripes(label: int, draw: np.random.Generator) -> np.ndarray:
    angle = np.pi * (label + draw.uniform(-0.45, 0.45)) / 4
    along = np.cos(angle) * _COLUMN + np.sin(angle) * _ROW
    return 0.5 + 0.2 * np.sin(2 * np.pi * along / draw.uniform(6, 9) + draw.uniform(0, 6.28))


def _blob(label: int, draw: np.random.Generator) -> np.ndarray:
    quarter = np.array((label // 2, label % 2))
    row, column = 8 + 16 * quarter + draw.uniform(-6, 6, 2)
    return np.exp(-((_ROW - row) ** 2 + (_COLUMN - column) ** 2) / 2 / draw.uniform(3, 5) ** 2)


def _colour(label: int, draw: np.random.Generator) -> np.ndarray:
    tint = draw.uniform(0.35, 0.55, 3)
    tint[label] += draw.uniform(0.05, 0.25)
    return np.broadcast_to(tint, (SIDE, SIDE, 3)) * draw.uniform(0.6, 1.1, (SIDE, SIDE, 1))


def _grain(label: int, draw: np.random.Generator) -> np.ndarray:
    cell = (1, 4, 8)[label]
    coarse = draw.random((SIDE // cell, SIDE // cell)).repeat(cell, 0).repeat(cell, 1)
    return 0.2 + 0.6 * np.roll(coarse, tuple(draw.integers(cell, size=2)), (0, 1))


def _shape(label: int, draw: np.random.Generator) -> np.ndarray:
    row, column = 16 + draw.uniform(-5, 5, 2)
    far = np.hypot(_ROW - row, _COLUMN - column)
    cross = np.minimum(abs(_ROW - row), abs(_COLUMN - column))
    return ((far < 7), (abs(far - 7) < 2), (cross < 2))[label].astype(np.float32)


TOY_TASKS = (
    ToyTask("stripes", "Direction of stripes", ("0°", "45°", "90°", "135°"), _stripes),
    ToyTask("blob", "Quarter with the blob", ("top left", "top right", "bottom left", "bottom right"), _blob),
    ToyTask("colour", "Dominant colour", ("red", "green", "blue"), _colour),
    ToyTask("grain", "Size of the grain", ("fine", "medium", "coarse"), _grain),
    ToyTask("shape", "Disc, ring or cross", ("disc", "ring", "cross"), _shape, seen=False),
)
