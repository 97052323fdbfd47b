"""What the pictures of a suite's tasks look like, so that one can be drawn like them: paper, pen and size, measured."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from merge_engine.suite import Suite, load_suite

FROM_PAPER = 64  # levels from the paper's grey beyond which a pixel is ink
PLAIN = 0.9  # share of the border that has to be paper
THIN, THICK = 1.5, 8.0  # pens, in pixels of a picture of 32


@dataclass(frozen=True)
class Look:
    """How one task's pictures are drawn: `ink` on `paper`, greys 0 or 255; `pen` and `frame` as shares of the side."""

    name: str
    paper: int
    ink: int
    pen: float
    frame: float

    @property
    def words(self) -> str:
        """What a menu says."""
        colors = "white on black" if self.paper == 0 else "black on white"
        return f"{self.name}: {colors}" if self.name else colors


PLAINLY = (Look("", 0, 255, 3 / 32, 0.75), Look("", 255, 0, 3 / 32, 0.75))


@lru_cache(maxsize=8)
def looks(suite: str) -> tuple[Look, ...]:
    """Return how the tasks are drawn that have a plain paper and lines thin enough for a pen; both colours if none."""
    loaded = load_suite(suite)
    found = [look for task in loaded.tasks if (look := look_of(loaded, task)) is not None]
    return tuple(found) or PLAINLY


def look_of(suite: Suite, task: str) -> Look | None:
    """Return how a task's support pictures are drawn; None without plain paper, or where nothing is line-like.

    A pen of width w leaves area ≈ w · length and outline ≈ 2 · length, so w ≈ 2 · area / outline; its median, and that
    of the longer side of what is drawn, over the pictures.
    """
    pictures = suite.pictures(task, "support" if len(suite.indices(task, "support")) else "validation")
    grey = pictures.astype(float) if pictures.ndim == 3 else pictures.mean(-1)
    border = np.concatenate([edge.ravel() for edge in (grey[:, 0], grey[:, -1], grey[:, :, 0], grey[:, :, -1])])
    paper = float(np.median(border))
    if min(paper, 255 - paper) > FROM_PAPER or np.mean(np.abs(border - paper) <= FROM_PAPER) < PLAIN:
        return None
    ink = [i for i in np.abs(grey - paper) > FROM_PAPER if i.any()]
    if not ink:
        return None
    side = grey.shape[-1]
    pen = float(np.median([stroke(i) for i in ink])) / side
    if pen * 32 > THICK:
        return None
    dark = paper < 128
    size = float(np.median([max(np.ptp(np.flatnonzero(i.any(axis))) + 1 for axis in (0, 1)) for i in ink])) / side
    return Look(task, 0 if dark else 255, 255 if dark else 0, max(THIN / 32, pen), size)


def stroke(ink: np.ndarray) -> float:
    """Return the mean width in pixels of what is drawn, boolean (h, w)."""
    framed = np.pad(ink, 1).astype(int)
    outline = np.abs(np.diff(framed, axis=0)).sum() + np.abs(np.diff(framed, axis=1)).sum()
    return float(2 * ink.sum() / max(outline, 1))
