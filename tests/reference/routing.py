"""Routers, slowly: projection matrices, inverses and refits, one input and one task at a time, in float64."""

from __future__ import annotations

import numpy as np

Support = list[np.ndarray]


def projector(matrix: np.ndarray, k: int) -> np.ndarray:
    """Return the projection onto the k leading right singular vectors."""
    V = np.linalg.svd(matrix, full_matrices=False)[2][:k].T
    return V @ V.T


def start(support: Support, t: int, centring: str) -> np.ndarray:
    """Return where the manifold of a task starts."""
    means = [z.mean(0) for z in support]
    return {"task": means[t], "global": np.mean(means, axis=0), "none": np.zeros_like(means[t])}[centring]


def residual(
    support: Support, t: int, x: np.ndarray, rank: int, centring: str = "task", kind: str = "squared"
) -> float:
    """Return the squared distance of x to the manifold of a task, or its share of the distance to the centre."""
    centre = start(support, t, centring)
    most = min(rank, len(support[t]) - (centring == "task"))
    c = x - centre
    left = c - projector(support[t] - centre, most) @ c
    return left @ left / (c @ c if kind == "relative" else 1.0)


def calibrated(support: Support, t: int, x: np.ndarray, rank: int, centring: str, kind: str) -> float:
    """Return the residual divided by the mean residual of the task's own inputs, each left out of the fit in turn."""
    own = []
    for i in range(len(support[t])):
        others = [np.delete(z, i, axis=0) for z in support]
        own.append(residual(others, t, support[t][i], rank, centring, kind))
    return residual(support, t, x, rank, centring, kind) / np.mean(own)


def gap(support: Support, score, folds: int) -> float:
    """Return the median difference of the best and the second score of inputs left out, every `folds`-th together.

    `score(support, t, x)` is the score of task t for x, fitted to the support that is left.
    """
    differences = []
    for fold in range(min(folds, max(len(z) for z in support))):
        left = [z[[i for i in range(len(z)) if i % folds != fold]] for z in support]
        for z in support:
            for i in range(fold, len(z), folds):
                best = sorted((score(left, t, z[i]) for t in range(len(support))), reverse=True)
                differences.append(best[0] - best[1])
    return float(np.sort(differences)[(len(differences) - 1) // 2])  # of two middle ones the lower


def nearest(support: Support, t: int, x: np.ndarray) -> float:
    """Return the squared distance to the nearest support feature of a task."""
    return min(float((x - z) @ (x - z)) for z in support[t])


def mean_distance(support: Support, t: int, x: np.ndarray) -> float:
    """Return the squared distance to the mean support feature of a task."""
    c = x - support[t].mean(0)
    return float(c @ c)


def gaussian(support: Support, t: int, x: np.ndarray, covariance: str, shrinkage: float) -> float:
    """Return cᵀ Σ⁻¹ c + log det Σ with the covariance shrunk towards a multiple of the identity."""
    rows = [z - z.mean(0) for z in support]
    chosen = np.concatenate(rows) if covariance == "shared" else rows[t]
    scatter, d = chosen.T @ chosen / len(chosen), chosen.shape[1]
    sigma = (1 - shrinkage) * scatter + shrinkage * np.trace(scatter) / d * np.eye(d)
    c = x - support[t].mean(0)
    return float(c @ np.linalg.inv(sigma) @ c + np.linalg.slogdet(sigma)[1])
