"""The points of the map of features: support inputs and the inputs that are shown, with their tasks and routes."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from merge_engine.embedding import pca
from merge_engine.suite import Suite
from viz.panels.manifold import FeatureMap

from ..record import Run
from .choice import Choice, key_of
from .inputs import shown
from .insight import Input, support_of


@dataclass(frozen=True)
class Points:
    """Inputs of the map, the names of their tasks, and the position there of the expert each was sent to, or −1."""

    tasks: tuple[str, ...]
    inputs: tuple[Input, ...]
    routed: tuple[int, ...]

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


def points(suite: Suite, run: Run | None, choice: Choice) -> Points | None:
    """Return the support inputs of the run's experts and the inputs shown; those circled on the map hide no others."""
    found = shown(run, dataclasses.replace(choice, circled=()))
    if run is None or found is None:
        return None
    experts = run.recipe.experts
    alone = support_points(suite, experts)
    tasks = tuple(dict.fromkeys((*alone.tasks, *found.said)))
    where = np.array([tasks.index(suite.task_of[e]) for e in experts])
    inputs, routed = list(alone.inputs), list(alone.routed)
    for task, rows in found.rows.items():
        said = found.said[task]
        inputs += [(task, "score", int(index)) for index in said.index[rows]]
        routed += [-1] * len(rows) if said.picked is None else where[said.picked[rows]].tolist()
    return Points(tasks, tuple(inputs), tuple(routed))


def support_points(suite: Suite, experts: Sequence[str]) -> Points:
    """Return the support inputs of some experts alone, which are known before anything is merged."""
    support = tuple(one for expert in experts for one in support_of(suite, expert))
    tasks = tuple(dict.fromkeys(suite.task_of[expert] for expert in experts))
    return Points(tasks, support, (-1,) * len(support))


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
                      yours_near)  # fmt: skip


def unit(features: np.ndarray) -> np.ndarray:
    """Return features (N, D) divided by their lengths."""
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def within(given: Points, positions: Sequence[int]) -> list[str]:
    """Return the words of the test inputs among some points."""
    return [word for position in positions if (word := given.word(position))]
