"""What a sweep found, as numpy data for its two panels: a curve over one hyper-parameter, a plane over two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import theme

MARKS = {
    "best": ("◆", "best so far", "var(--ms-mark)"),
    "current": ("●", "this recipe", theme.INK),
    "table": ("▲", "chosen for the table", theme.CHANCE),
    "published": ("◇", "published default", theme.PRETRAINED),
    "A": ("A", "pinned as A", "var(--ms-focus)"),
    "B": ("B", "pinned as B", "var(--ms-focus)"),
}


@dataclass(frozen=True, eq=False)
class Swept:
    """Accuracies in % on a grid of one or two axes: `accuracy` (A, T) or (A, B, T); NaN where nothing is scored yet.

    `values` of every axis ascend, (A,) and (B,); `low` and `high` are the 95 % interval of the average, and
    `normalised` is the mean of merged over expert accuracy in %, each (A,) or (A, B). `alone` (T,) is the accuracy of
    every task's expert; `lost`, of the shape of `accuracy`, the share in % of what that expert alone gets right and the
    merge gets wrong. `marks` are points worth seeing, by a name of `MARKS`, on the grid or off it.
    """

    names: tuple[str, ...]
    values: tuple[np.ndarray, ...]
    tasks: tuple[str, ...]
    accuracy: np.ndarray
    low: np.ndarray
    high: np.ndarray
    normalised: np.ndarray
    alone: np.ndarray
    lost: np.ndarray
    marks: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    wide: tuple[bool, ...] = ()
    pictures: int = 0
    chooses: bool = True

    @property
    def average(self) -> np.ndarray:
        """Mean over tasks (A,) or (A, B)."""
        return self.accuracy.mean(-1)

    @property
    def share(self) -> np.ndarray:
        """Accuracy of every task as a share of its expert's, in %, of the shape of `accuracy`."""
        return 100 * self.accuracy / np.where(self.alone > 0, self.alone, np.nan)

    @property
    def interference(self) -> np.ndarray:
        """Mean of `lost` over tasks (A,) or (A, B)."""
        return self.lost.mean(-1)

    @property
    def best(self) -> tuple[float, ...] | None:
        """Values of the best average so far; None before the first point, or where nothing may be chosen."""
        if not self.chooses or not np.isfinite(self.average).any():
            return None
        place = np.unravel_index(int(np.nanargmax(self.average)), self.average.shape)
        return tuple(float(values[i]) for values, i in zip(self.values, place, strict=True))

    @property
    def marked(self) -> dict[str, tuple[float, ...]]:
        """Points worth seeing by name, the best one first."""
        best = {} if self.best is None else {"best": self.best}
        return {name: point for name, point in {**best, **self.marks}.items() if name in MARKS}

    @property
    def where(self) -> str:
        """What the accuracies are shares of, in words."""
        return f"{self.pictures or 'all'} {'validation' if self.chooses else 'test'} pictures per task"

    def about(self, words: str, click: str) -> str:
        """Return how to read a panel, with what a click does; where nothing may be chosen, that stands instead."""
        look = "Test pictures are to look at only: nothing is chosen by them."
        return f"{words} {click}" if self.chooses else f"{words} {look}"

    @property
    def waiting(self) -> list[dict[str, Any]]:
        """Words in the middle while nothing is scored."""
        if np.isfinite(self.average).any():
            return []
        return [theme.label("nothing scored yet: press Start", 0.5, 0.5, xref="paper", yref="paper", color=theme.MUTED,
                            size=theme.TEXT, bgcolor=theme.SURFACE)]  # fmt: skip

    @property
    def title(self) -> str:
        return " × ".join(words(name) for name in self.names)


def words(name: str) -> str:
    """Return the name of an axis in words: `svc.rank_share` reads 'svc rank share'."""
    return name.replace("_", " ").replace(".", " ")


def label(value: float) -> str:
    """Return a value as it stands on an axis."""
    return f"{value:.4g}"


def demo(names: tuple[str, ...] = ("scaling",)) -> Swept:
    """Return an example: a hump over scaling, and over rank where that is swept too; the last points are missing."""
    tasks = ("digits", "fashion", "animals", "letters", "icons", "emoji", "landcover", "instruments")
    alone = np.array([98.0, 90, 95, 91, 93, 63, 88, 94])
    values = (np.linspace(0, 4, 9), np.array([0.04, 0.08, 0.12, 0.16, 0.32, 0.5]))[: len(names)]
    grid = np.meshgrid(*values, indexing="ij")
    peak = np.exp(-(((grid[0] - 2.0) / 2.2) ** 2)) * (np.exp(-(((grid[1] - 0.16) / 0.4) ** 2)) if grid[1:] else 1)
    random = np.random.default_rng(5)
    accuracy = alone * (0.62 + 0.3 * peak[..., None]) + random.normal(0, 1.2, (*peak.shape, len(tasks)))
    accuracy.reshape(-1, len(tasks))[-2:] = np.nan
    average, normalised = accuracy.mean(-1), (100 * accuracy / alone).mean(-1)
    places = {"published": (2.0, 0.12), "current": (1.0, 0.12), "table": (1.5, 0.32)}
    marks = {name: point[: len(names)] for name, point in places.items()}
    return Swept(
        names, values, tasks, accuracy, average - 3.1, average + 2.8, normalised, alone, 1.04 * (alone - accuracy),
        marks, (False,) * len(names), 50,
    )  # fmt: skip
