"""The points of the map of features: support inputs and the inputs that are shown, with their tasks and routes."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from merge_engine.answers import Predicted
from merge_engine.embedding import pca
from merge_engine.suite import Suite
from viz.panels.manifold import FeatureMap
from viz.pin import Pin

from ..compare.against import Against, Told
from ..record import Run
from .choice import Choice, key_of
from .inputs import shown
from .insight import Input, support_of


@dataclass(frozen=True)
class Points:
    """Inputs of the map, the names of their tasks, and the position there of the expert each was sent to, or −1.

    `fares` numbers how each fares in this run and in the pinned one, a place in `viz.panels.manifold.FARES`, −1 where
    that is not known; None without a pinned run. `why` says why nothing is known of that one.
    """

    tasks: tuple[str, ...]
    inputs: tuple[Input, ...]
    routed: tuple[int, ...]
    fares: Pin[np.ndarray] | None = None
    why: str = ""

    @property
    def key(self) -> str:
        """A word that differs for other inputs, whatever their routes."""
        return hashlib.blake2b(repr(self.inputs).encode(), digest_size=12).hexdigest()

    def place(self, key: str) -> int | None:
        """Return the position of a test input by its word."""
        return next((i for i in range(len(self.inputs)) if key and self.word(i) == key), None)

    def word(self, position: int) -> str:
        """Return the word of the test input at a position; nothing for support inputs and beyond the end."""
        if not 0 <= position < len(self.inputs):
            return ""
        task, split, index = self.inputs[position]
        return "" if split == "support" else key_of(task, index)


def points(suite: Suite, run: Run | None, choice: Choice, other: Against | None = None) -> Points | None:
    """Return the support inputs of the run's experts and the inputs shown; those circled on the map hide no others.

    `other` is what the pinned run said of them.
    """
    found = shown(run, dataclasses.replace(choice, circled=()), other)
    if run is None or found is None:
        return None
    experts = run.recipe.experts
    alone = support_points(suite, experts)
    tasks = tuple(dict.fromkeys((*alone.tasks, *found.said)))
    where = np.array([tasks.index(suite.task_of[e]) for e in experts])
    inputs, routed, fares = list(alone.inputs), list(alone.routed), [np.full(len(alone.inputs), -1)]
    for task, rows in found.rows.items():
        said = found.said[task]
        inputs += [(task, "score", int(index)) for index in said.index[rows]]
        routed += [-1] * len(rows) if said.picked is None else where[said.picked[rows]].tolist()
        fares.append(_fares(run, said, rows, other.tasks.get(task) if other else None))
    known = Pin(other.letter, np.concatenate(fares)) if other and other.tasks else None
    return Points(tasks, tuple(inputs), tuple(routed), known, other.why if other else "")


def _fares(run: Run, said: Predicted, rows: np.ndarray, told: Told | None) -> np.ndarray:
    """Return how inputs (N,) of a task fare in this run and in the pinned one: both right, both wrong, one alone."""
    if told is None:
        return np.full(len(rows), -1)
    at, own = said.index[rows], said.right(run.recipe.experts)[rows]
    found = np.select([own & told.right[at], ~own & ~told.right[at], own], [0, 1, 2], 3)
    return np.where(told.known[at], found, -1)


def support_points(suite: Suite, experts: Sequence[str], why: str = "") -> Points:
    """Return the support inputs of some experts alone, which are known before anything is merged.

    `why` says why nothing is known of a pinned run.
    """
    support = tuple(one for expert in experts for one in support_of(suite, expert))
    tasks = tuple(dict.fromkeys(suite.task_of[expert] for expert in experts))
    return Points(tasks, support, (-1,) * len(support), why=why)


def feature_map(
    given: Points, features: np.ndarray, near: np.ndarray | None = None, yours: np.ndarray | None = None,
    yours_near: np.ndarray | None = None,
) -> FeatureMap:  # fmt: skip
    """Return the map of features (N, D) of the points, on the unit sphere as routers see them; `near` is their UMAP.

    `yours` (D,) is the feature of a visitor's own picture, which is placed on the map of the others and moves none;
    `yours_near` (2,) is its place on their UMAP.
    """
    found = pca(unit(features))
    task = np.array([given.tasks.index(task) for task, _, _ in given.inputs], int)
    support = np.array([split == "support" for _, split, _ in given.inputs], bool)
    index = np.array([index for _, _, index in given.inputs], int)
    routed = np.array(given.routed, int)
    place = None if yours is None else found.place(unit(yours[None]))[0]
    return FeatureMap(given.tasks, task, routed, support, index, found.coordinates, found.explained, near, place,
                      yours_near, given.fares)  # fmt: skip


def unit(features: np.ndarray) -> np.ndarray:
    """Return features (N, D) divided by their lengths."""
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def within(given: Points, positions: Sequence[int]) -> list[str]:
    """Return the words of the test inputs among some points."""
    return [word for position in positions if (word := given.word(position))]
