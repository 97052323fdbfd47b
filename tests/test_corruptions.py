"""Corruptions: deterministic, harder with severity, right in size and colour, and a suite made of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from merge_engine.corruptions import CONTRAST, IMPULSE, KINDS, NOISE, corrupt
from merge_engine.errors import RecipeError

GREY = np.random.default_rng(0).integers(40, 216, (6, 32, 32), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(40, 216, (6, 32, 32, 3), dtype=np.uint8)


def smooth(pictures: np.ndarray) -> np.ndarray:
    """A picture with structure, as blurs and compression need one: a bright disk."""
    rows, columns = np.mgrid[:32, :32]
    disk = np.where((rows - 15.5) ** 2 + (columns - 15.5) ** 2 < 80, 200, 60).astype(np.uint8)
    return np.broadcast_to(disk if pictures.ndim == 3 else disk[..., None], pictures.shape).copy()


def change(before: np.ndarray, after: np.ndarray) -> float:
    return float(np.abs(after.astype(float) - before.astype(float)).mean())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pictures", [GREY, COLOUR], ids=["grey", "colour"])
def test_keeps_shape_and_type_repeats_and_changes_something(kind, pictures):
    once, again = corrupt(pictures, kind, 3), corrupt(pictures, kind, 3)
    assert once.shape == pictures.shape
    assert once.dtype == np.uint8
    assert np.array_equal(once, again)
    assert change(pictures, once) > 0.1


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"spatter"}))
@pytest.mark.parametrize("pictures", [GREY, COLOUR], ids=["grey", "colour"])
def test_higher_severity_changes_more(kind, pictures):
    base = smooth(pictures)
    mild, severe = (change(base, corrupt(base, kind, severity)) for severity in (1, 5))
    assert mild < severe


def test_a_picture_does_not_depend_on_its_neighbours():
    assert np.array_equal(corrupt(COLOUR, "gaussian_noise", 2)[:3], corrupt(COLOUR[:3], "gaussian_noise", 2))
    assert not np.array_equal(corrupt(COLOUR, "spatter", 2, seed=0), corrupt(COLOUR, "spatter", 2, seed=1))


def test_noise_has_the_published_size():
    plain = np.full((40, 32, 32), 128, np.uint8)
    for level in range(5):
        spread = (corrupt(plain, "gaussian_noise", level + 1) / 255).std()
        assert spread == pytest.approx(NOISE[level], rel=0.02)
        hit = np.isin(corrupt(plain, "impulse_noise", level + 1), (0, 255)).mean()
        assert hit == pytest.approx(IMPULSE[level], rel=0.1)


def test_contrast_is_linear_about_the_mean():
    for level in range(5):
        after = corrupt(COLOUR, "contrast", level + 1).astype(float)
        mean = COLOUR.mean((1, 2), keepdims=True)
        assert np.abs(after - (mean + CONTRAST[level] * (COLOUR - mean))).max() <= 0.5 + 1e-9


def test_pixelate_keeps_the_pictures_own_size():
    wide = np.random.default_rng(2).integers(0, 256, (2, 48, 64, 3), dtype=np.uint8)
    assert corrupt(wide, "pixelate", 5).shape == wide.shape


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(sorted(KINDS)), st.integers(1, 5), st.integers(8, 40), st.integers(8, 40), st.booleans()
)
def test_any_size_works(kind, severity, height, width, colour):
    shape = (1, height, width, 3) if colour else (1, height, width)
    pictures = np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)
    assert corrupt(pictures, kind, severity).shape == shape


def test_unknown_kinds_and_severities_are_refused():
    with pytest.raises(RecipeError, match="Did you mean 'contrast'"):
        corrupt(GREY, "contras", 1)
    for severity in (0, 6, "3"):
        with pytest.raises(RecipeError, match="from 1 to 5"):
            corrupt(GREY, "jpeg", severity)


def test_a_corrupted_suite_changes_test_pictures_only(toy):
    noisy = toy.corrupted("gaussian_noise", 3)
    assert noisy.name == toy.name
    assert torch.equal(noisy.labels("blob", "score"), toy.labels("blob", "score"))
    for split in ("train", "validation", "support"):
        assert np.array_equal(noisy.pictures("blob", split), toy.pictures("blob", split))
    for split in ("adapt", "score"):
        assert not np.array_equal(noisy.pictures("blob", split), toy.pictures("blob", split))
    assert not torch.equal(noisy.prepared("blob", "score"), toy.prepared("blob", "score"))
    assert noisy.pretrained_in_memory is toy.pretrained_in_memory
