"""Made-up landscapes with the shapes of real ones, for demonstrations and tests of panels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from merge_engine.landscape.disentanglement import Disentanglement, scale
from merge_engine.landscape.path import Path, parts
from merge_engine.landscape.span import Plane
from merge_engine.landscape.surface import Marker, Surface, frame

MODELS = ("pretrained", "digits", "letters")


def surface(models: Sequence[str] = MODELS, *, side: int = 11, merges: int = 3) -> Surface:
    """Return two valleys, one per task, around an expert each, and merges between them; `side` points are known."""
    plane = Plane(np.array([[0.0, 0.0], [2.0, 0.0], [0.15, 1.9]]))
    x, y = frame(plane)
    grid = np.stack(np.meshgrid(x, y), -1)
    mix = grid @ np.linalg.inv(plane.corners[1:])
    loss = np.stack([_loss(grid, plane.corners[i]) for i in (1, 2)], -1)
    known = np.zeros(loss.shape[:2], bool)
    step = (len(x) - 1) // (side - 1)
    known[::step, ::step] = True
    loss[~known] = np.nan
    markers = [_marker(name, plane, at, 0.0) for name, at in zip(models, plane.corners, strict=True)]
    places = [(0.4 + 0.3 * i, 0.5 + 0.2 * i, 1.4 + 0.1 * i) for i in range(merges)]
    markers += [_marker(f"merge {i}", plane, at, off, True) for i, (*at, off) in enumerate(places)]
    mixture = np.concatenate([1 - mix.sum(-1, keepdims=True), mix], -1)
    tasks = tuple(dict.fromkeys(models[1:]))
    return Surface(tuple(models), tasks, 16, x, y, loss, _accuracy(loss), mixture, tuple(markers))


def path(models: Sequence[str] = ("digits", "letters"), *, detail: int = 21) -> Path:
    """Return a line with a barrier for one task and none for the other."""
    shares = np.array(parts(detail)) / 24
    bump = 1.1 * np.exp(-(((shares - 0.45) / 0.2) ** 2))
    loss = np.stack([0.05 + 1.4 * np.abs(shares) ** 1.5 + bump, 0.3 + 1.6 * np.abs(1 - shares) ** 1.5], -1)
    return Path(tuple(models)[:2], tuple(models)[:2], 16, shares, loss, _accuracy(loss))  # type: ignore[arg-type]


def disentanglement(experts: Sequence[str] = ("digits", "letters")) -> Disentanglement:
    """Return two task vectors that disturb each other the more, the larger they are."""
    a, b = np.meshgrid(scale(), scale())
    terms = [np.clip(np.abs(other) ** 1.5 * (0.2 + 0.25 * (own < 0)), 0, 1) for own, other in ((a, b), (b, a))]
    return Disentanglement(tuple(experts)[:2], 16, scale(), np.stack(terms, -1))  # type: ignore[arg-type]


def _loss(places: np.ndarray, valley: np.ndarray) -> np.ndarray:
    return 0.02 + 0.55 * ((places - valley) ** 2).sum(-1) ** 0.8


def _accuracy(loss: np.ndarray) -> np.ndarray:
    return 100 * np.exp(-0.5 * loss)


def _marker(name: str, plane: Plane, at: Sequence[float], off: float, merge: bool = False) -> Marker:
    loss = np.array([_loss(np.array(at), plane.corners[i]) for i in (1, 2)])
    return Marker(name, float(at[0]), float(at[1]), off, loss, _accuracy(loss), merge, name if merge else "")
