"""Coordinates of features: principal directions exactly, neighbourhoods by seed, and nothing heavy loaded early."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from merge_engine.embedding import pca


def test_pca_keeps_distances_of_a_plane():
    random = np.random.default_rng(0)
    plane = random.normal(size=(50, 2)) * (3, 1)
    turn = np.linalg.qr(random.normal(size=(7, 2)))[0]
    found = pca(plane @ turn.T + 5)
    apart = lambda x: np.linalg.norm(x[:, None] - x[None], axis=-1)  # noqa: E731
    assert np.allclose(apart(found.coordinates), apart(plane))
    assert found.explained.sum() == pytest.approx(1)
    assert found.explained[0] > found.explained[1]
    assert np.allclose(found.coordinates.mean(0), 0)


def test_pca_agrees_with_the_covariance():
    features = np.random.default_rng(1).normal(size=(40, 6)) * np.arange(1, 7)
    values = np.linalg.eigvalsh(np.cov(features.T))[::-1]
    found = pca(features, 3)
    assert np.allclose(found.coordinates.var(0, ddof=1), values[:3])
    assert np.allclose(found.explained, values[:3] / values.sum())


@pytest.mark.parametrize("shape", [(60, 9), (9, 60), (2, 5), (5, 2)])
def test_pca_is_the_leading_part_of_an_svd(shape):
    points = np.random.default_rng(4).normal(size=shape)
    found = pca(points)
    u, s, vh = np.linalg.svd(points - points.mean(0), full_matrices=False)
    count = min(2, shape[0] - 1)  # centring takes one dimension
    np.testing.assert_allclose(np.abs(found.coordinates[:, :count]), np.abs(u * s)[:, :count], atol=1e-12)
    np.testing.assert_allclose(np.abs(found.directions[:count]), np.abs(vh[:count]), atol=1e-12)
    np.testing.assert_allclose(found.explained[:count], (s**2 / (s**2).sum())[:count], atol=1e-12)
    assert not found.coordinates[:, count:].any()


def test_pca_does_not_flip():
    features = np.random.default_rng(2).normal(size=(30, 5))
    order = np.random.default_rng(3).permutation(30)
    assert np.allclose(pca(features[order]).coordinates, pca(features).coordinates[order])


@pytest.mark.parametrize("features", [np.zeros((0, 4)), np.ones((1, 4)), np.ones((5, 4)), np.arange(3.0)[:, None]])
def test_pca_of_almost_nothing(features):
    found = pca(features)
    assert found.coordinates.shape == (len(features), 2)
    assert np.isfinite(found.coordinates).all()
    assert np.isfinite(found.explained).all()


def test_importing_loads_nothing_heavy():
    heavy = "{'umap', 'numba', 'sklearn'}"
    code = f"import merge_engine.embedding, viz.panels.manifold, sys; print({heavy} & {{*sys.modules}})"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"
