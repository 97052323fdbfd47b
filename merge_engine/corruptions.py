"""Seven corruptions of pictures at five severities, for scoring merges on inputs nobody was trained on.

Kinds and constants are those of CIFAR-10-C (Hendrycks and Dietterich, Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations, ICLR 2019, arXiv:1903.12261), made for pictures of 32 x 32. Two things are ours: pixelate
scales the picture's own size, where a published script enlarges to 32 x 32 whatever came in, and the water of spatter
is shaded by its thickness instead of by the distance to its edges.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from .errors import RecipeError, no_such

SEVERITIES = (1, 2, 3, 4, 5)
NOISE = (0.04, 0.06, 0.08, 0.09, 0.10)  # standard deviation, of 1
IMPULSE = (0.01, 0.02, 0.03, 0.05, 0.07)  # share of values
MOTION = ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5))  # radius and standard deviation in pixels
CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15)
JPEG = (80, 65, 58, 50, 40)
PIXELATE = (0.95, 0.9, 0.85, 0.75, 0.65)
SPATTER = (  # mean and deviation of the noise, its blur, threshold, strength or second blur, mud
    (0.62, 0.1, 0.7, 0.7, 0.5, False), (0.65, 0.1, 0.8, 0.7, 0.5, False), (0.65, 0.3, 1.0, 0.69, 0.5, False),
    (0.65, 0.1, 0.7, 0.69, 0.6, True), (0.65, 0.1, 0.5, 0.68, 0.6, True),
)  # fmt: skip
WATER, MUD = (175, 238, 238), (63, 42, 20)

Maker = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]
"""Values (h, w, c) in [0, 1], index of the severity, and a source of randomness to new values, not yet clipped."""


def corrupt(pictures: np.ndarray, kind: str, severity: int, seed: int = 0) -> np.ndarray:
    """Return corrupted pictures, uint8 (N, h, w) or (N, h, w, 3) like those given.

    Picture i depends on the seed and on i alone. Raises RecipeError for an unknown kind or severity.
    """
    if kind not in KINDS:
        raise RecipeError(no_such("corruption", kind, KINDS))
    if severity not in SEVERITIES:
        raise RecipeError(f"A severity is a whole number from 1 to 5; got {severity!r}.")
    made = np.empty_like(pictures)
    for i, picture in enumerate(pictures):
        values = np.atleast_3d(picture).astype(np.float64) / 255
        changed = KINDS[kind](values, severity - 1, np.random.default_rng((seed, i)))
        made[i] = np.rint(255 * changed.clip(0, 1)).astype(np.uint8).reshape(picture.shape)
    return made


def gaussian_noise(x: np.ndarray, level: int, draw: np.random.Generator) -> np.ndarray:
    """Add normal noise to every value."""
    return x + draw.normal(0, NOISE[level], x.shape)


def impulse_noise(x: np.ndarray, level: int, draw: np.random.Generator) -> np.ndarray:
    """Set some values to black or white."""
    hit, white = draw.random(x.shape) < IMPULSE[level], draw.random(x.shape) < 0.5
    return np.where(hit, white.astype(x.dtype), x)


def motion_blur(x: np.ndarray, level: int, draw: np.random.Generator) -> np.ndarray:
    """Smear along a direction within 45 degrees of the horizontal, with weights that fall off on one side."""
    radius, deviation = MOTION[level]
    weights = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * deviation**2))
    angle = np.deg2rad(draw.uniform(-45, 45))
    made = np.zeros_like(x)
    for distance, weight in enumerate(weights / weights.sum()):
        rows, columns = round(distance * np.sin(angle)), round(distance * np.cos(angle))
        made += weight * _shifted(x, rows, columns)
    return made


def contrast(x: np.ndarray, level: int, draw: np.random.Generator) -> np.ndarray:
    """Pull every value towards the mean of its channel."""
    mean = x.mean((0, 1), keepdims=True)
    return mean + CONTRAST[level] * (x - mean)


def jpeg(x: np.ndarray, level: int, draw: np.random.Generator) -> np.ndarray:
    """Compress and read back."""
    file = io.BytesIO()
    _image(x).save(file, "JPEG", quality=JPEG[level])
    return _values(Image.open(file))


def pixelate(x: np.ndarray, level: int, draw: np.random.Generator) -> np.ndarray:
    """Shrink by averaging and enlarge again to the picture's own size."""
    height, width = x.shape[:2]
    small = int(width * PIXELATE[level]), int(height * PIXELATE[level])
    box = Image.Resampling.BOX
    return _values(_image(x).resize(small, box).resize((width, height), box))


def spatter(x: np.ndarray, level: int, draw: np.random.Generator) -> np.ndarray:
    """Splash with water, or with mud at the two highest severities."""
    mean, deviation, blur, threshold, strength, mud = SPATTER[level]
    liquid = _blurred(draw.normal(mean, deviation, x.shape[:2]), blur)
    liquid[liquid < threshold] = 0
    if mud:
        cover = _blurred((liquid > threshold).astype(np.float64), strength)
        cover[cover < 0.8] = 0
        cover = cover[..., None]
        return x * (1 - cover) + cover * _colour(MUD, x.shape[2])
    return x + strength * liquid[..., None] / max(liquid.max(), 1e-9) * _colour(WATER, x.shape[2])


KINDS: dict[str, Maker] = {
    "motion_blur": motion_blur,
    "impulse_noise": impulse_noise,
    "gaussian_noise": gaussian_noise,
    "pixelate": pixelate,
    "spatter": spatter,
    "contrast": contrast,
    "jpeg": jpeg,
}


def _shifted(x: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Move a picture down and to the right; its border is repeated."""
    height, width = x.shape[:2]
    down = (np.arange(height) - rows).clip(0, height - 1)
    right = (np.arange(width) - columns).clip(0, width - 1)
    return x[down][:, right]


def _blurred(plane: np.ndarray, deviation: float) -> np.ndarray:
    """Blur (h, w) by a normal kernel cut at four deviations; the border is repeated."""
    reach = int(4 * deviation + 0.5)
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-(offsets**2) / (2 * deviation**2))
    kernel /= kernel.sum()
    for axis in (0, 1):
        padding = [(reach, reach) if a == axis else (0, 0) for a in (0, 1)]
        plane = np.apply_along_axis(np.convolve, axis, np.pad(plane, padding, mode="edge"), kernel, "valid")
    return plane


def _colour(colour: tuple[int, int, int], channels: int) -> np.ndarray:
    """Return a colour in [0, 1], or its luma where pictures are grey."""
    values = np.array(colour) / 255
    return values if channels == 3 else np.array([values @ (0.299, 0.587, 0.114)])


def _image(x: np.ndarray) -> Image.Image:
    values = np.rint(255 * x).astype(np.uint8)
    return Image.fromarray(values if x.shape[2] == 3 else values[..., 0])


def _values(image: Image.Image) -> np.ndarray:
    return np.atleast_3d(np.asarray(image)).astype(np.float64) / 255
