"""Made-up collisions and flips with the shapes of real ones, for demonstrations and tests of panels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from merge_engine.metrics.joint_overlap import JointOverlap
from viz.examples import EXPERTS, picture, rows
from viz.panels.flips import Flip, FlipView, TaskChange

WIDTH = 24


def joint_overlap(experts: Sequence[str] = EXPERTS, *, blocks: int = 1, rank: int = 16) -> JointOverlap:
    """Return the terms of random matrices that share a few directions, some of them with the opposite sign."""
    random, where, count = np.random.default_rng(41), rows(blocks), len(experts)
    found = np.zeros((len(where), count, count, rank, rank))
    inner = np.zeros((len(where), count, count))
    shared = [np.linalg.svd(random.normal(size=(WIDTH, 3)), full_matrices=False)[0] for _ in range(2)]
    for row in range(len(where)):
        parts = [np.linalg.svd(_task_matrix(random, shared), full_matrices=False) for _ in experts]
        U, s, V = (np.stack([part[i] for part in parts]) for i in range(3))
        left = np.einsum("imk,jml->ijkl", U, U) * s[:, None, :, None]
        terms = left * np.einsum("ikn,jln->ijkl", V, V) * s[None, :, None, :]
        found[row], inner[row] = terms[..., :rank, :rank], terms.sum((2, 3))
    norms = np.sqrt(np.einsum("rtt->rt", inner))
    norms = norms[:, :, None] * norms[:, None, :]
    total = found.sum((3, 4))
    return JointOverlap(tuple(experts), where, found, total, inner, total / norms, inner / norms)


def _task_matrix(random: np.random.Generator, shared: list[np.ndarray]) -> np.ndarray:
    along = random.normal(0, 1.2, 3)
    return 0.1 * random.normal(size=(WIDTH, WIDTH)) + (shared[0] * along) @ shared[1].T


def flips(experts: Sequence[str] = EXPERTS, *, each: int = 3, total: int = 256) -> FlipView:
    """Return changes that are largest for one task, with a few inputs of every kind."""
    random, tasks, examples = np.random.default_rng(43), [], []
    for t, task in enumerate((*experts, "scripts")):
        right, wrong, other = (int(n) for n in random.integers(each, 12, 3))
        before = 160 + int(random.integers(0, 60))
        tasks.append(TaskChange(task, total, before, before + right - wrong, right, wrong, other, task in experts))
        said = {"right": ("class b", "class a"), "wrong": ("class a", "class b"), "other": ("class b", "class c")}
        examples += [Flip(task, 9 * i + j, picture(t, 9 * i + j), "class a", *said[change], change)
                     for j, change in enumerate(said) for i in range(each)]  # fmt: skip
    return FlipView("letters 5.fc1 #0", tuple(tasks), tuple(examples))
