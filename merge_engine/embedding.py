"""Features on a map: two coordinates per input, linear (PCA) or by neighbourhood (UMAP)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NEIGHBOURS = 15
FEWEST = 4  # fewer points have no neighbourhoods to keep


@dataclass(frozen=True, eq=False)
class Projection:
    """Coordinates (N, k) on the k leading principal directions, and their shares of the variance (k,).

    The map itself is `centre` (D,) and `directions` (k, D), zero where the features have none.
    """

    coordinates: np.ndarray
    explained: np.ndarray
    centre: np.ndarray
    directions: np.ndarray

    def place(self, features: np.ndarray) -> np.ndarray:
        """Return coordinates (M, k) of other features (M, D) on the same directions."""
        return (np.asarray(features, np.float64) - self.centre) @ self.directions.T


def pca(features: np.ndarray, dimensions: int = 2) -> Projection:
    """Project features (N, D) on their leading principal directions.

        X − 1μᵀ = U diag(s) Vᵀ,  coordinates = U_k diag(s_k),  explained = s_k² / Σ s²

    The largest entry of every direction is positive, so that the picture does not flip; directions that the features
    lack have coordinates 0.
    """
    centred = np.asarray(features, np.float64)
    centre = centred.mean(0) if len(centred) else np.zeros(centred.shape[1])
    centred = centred - centre
    coordinates, explained = np.zeros((len(centred), dimensions)), np.zeros(dimensions)
    directions = np.zeros((dimensions, len(centre)))
    if centred.size == 0:
        return Projection(coordinates, explained, centre, directions)
    found, squares = _leading(centred, dimensions)
    count, total = len(found), float((centred**2).sum())
    directions[:count] = found * np.sign(found[np.arange(count), np.abs(found).argmax(1)])[:, None]
    coordinates[:, :count] = centred @ directions[:count].T
    if total > 0:
        explained[:count] = squares / total
    return Projection(coordinates, explained, centre, directions)


def _leading(centred: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the at most `count` leading right singular vectors (k, D) of (N, D), and the squares of their values (k,).

    They are eigenvectors of XᵀX, or Xᵀu / s of those of XXᵀ where that is smaller: several times faster than an SVD,
    and as exact for what stands out. What is lost in rounding counts as absent.
    """
    wide = centred.shape[0] < centred.shape[1]
    squares, vectors = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    squares, vectors = squares[::-1][:count], vectors[:, ::-1][:, :count]
    kept = squares > max(centred.shape) * np.finfo(np.float64).eps * squares[0]
    squares, vectors = squares[kept], vectors[:, kept]
    return (vectors.T @ centred / np.sqrt(squares)[:, None] if wide else vectors.T), squares


def spread_start(features: np.ndarray) -> np.ndarray:
    """Return where UMAP begins: the PCA picture (N, 2) of features (N, D), spread over a square of side 10."""
    start = pca(features).coordinates
    spread = np.ptp(start, axis=0)
    return 10 * (start - start.min(0)) / np.where(spread > 0, spread, 1)
