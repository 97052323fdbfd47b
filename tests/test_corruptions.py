"""Corruptions: deterministic, harder with severity, right in size and colour, and a suite made of them."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from merge_engine.corruptions import CONTRAST, IMPULSE, JPEG, KINDS, MOTION, NOISE, PIXELATE, corrupt
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


def test_constants_are_those_of_cifar_10_c():
    """By severity, as published for pictures of 32 x 32."""
    assert MOTION == ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))
    assert JPEG == (80, 65, 58, 50, 40)
    assert PIXELATE == (0.95, 0.9, 0.85, 0.75, 0.65)
    assert CONTRAST == (0.75, 0.5, 0.4, 0.3, 0.15)
    assert NOISE == (0.04, 0.06, 0.08, 0.09, 0.10)
    assert IMPULSE == (0.01, 0.02, 0.03, 0.05, 0.07)


def test_pixelate_shrinks_and_enlarges_to_the_size_of_the_picture():
    """At the second severity of five, 20 pixels become 18 and 20 again, and no more different rows are left."""
    picture = np.random.default_rng(3).integers(0, 256, (1, 20, 20), dtype=np.uint8)
    found = corrupt(picture, "pixelate", 2)[0]
    assert len(np.unique(found, axis=0)) <= 18
    assert len(np.unique(found, axis=1)) <= 20
    flat = np.full((1, 20, 20), 77, np.uint8)
    assert (corrupt(flat, "pixelate", 5) == 77).all()


def test_motion_blur_smears_one_point_as_far_as_its_radius():
    point = np.zeros((1, 41, 41), np.uint8)
    point[0, 20, 20] = 255
    for severity, (radius, deviation) in enumerate(MOTION, 1):
        weights = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * deviation**2))
        found = corrupt(point, "motion_blur", severity)[0].astype(float)
        assert found.max() == pytest.approx(255 * weights[0] / weights.sum(), abs=1)
        assert found.sum() == pytest.approx(255, abs=4)
        rows, columns = np.nonzero(found)
        assert np.hypot(rows - 20, columns - 20).max() <= 2 * radius + 1


def test_jpeg_is_what_the_library_writes_at_that_quality():
    picture = smooth(COLOUR)[:1]
    file = io.BytesIO()
    Image.fromarray(picture[0]).save(file, "JPEG", quality=58)
    assert np.array_equal(corrupt(picture, "jpeg", 3)[0], np.asarray(Image.open(file)))


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
