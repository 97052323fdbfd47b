"""A picture from outside, made into one as the pictures of a suite are: square, small, 8 bits."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np

from ..errors import DataError
from ..suite import Suite

LARGEST = 1 << 20  # bytes of a file
PIXELS = 1 << 24  # pixels that are decoded at most: 4096 x 4096
FORMATS = ("PNG", "JPEG", "WEBP")
FITS = ("crop", "pad")
UNREADABLE = "The file cannot be read as a PNG, JPEG or WebP picture; save it again, or take another."
WHITE = 255
SIXTEEN = ("I;16", "I;16B", "I;16L", "I;16N", "I")


def side_of(suite: Suite) -> int | None:
    """Return the side in pixels of a suite's pictures; None where its inputs are no square pictures."""
    if not hasattr(suite.backbone, "input_size"):
        return None
    height, width = suite.sheet(next(iter(suite.tasks)), "train").shape[1:3]
    return int(height) if height == width else None


def picture_of(data: bytes, side: int, *, fit: str = "crop", paper: int = WHITE) -> np.ndarray:
    """Return the picture in a PNG, JPEG or WebP file, uint8 (side, side), or (side, side, 3) where it has colours.

    What is not square loses its longer ends (`crop`), or gets `paper`, a grey in 0 to 255, beside it (`pad`); what is
    transparent shows `paper`. Resampling is bicubic, as the land cover of the bundled suite was resized; a picture of
    the right size stays as it is. Of an animation the first frame counts. Nothing is decoded before its size is known.
    Raises DataError, in one sentence, for anything else.
    """
    if fit not in FITS:
        raise DataError(f"A picture can be fitted by {' or '.join(FITS)}; got {fit!r}.")
    if len(data) > LARGEST:
        raise DataError(f"The file has {len(data) / LARGEST:.1f} MB; choose one of at most {LARGEST >> 20} MB.")
    shown = _square(_decoded(data, paper), fit, paper)
    small = np.array(_resized(shown, side), np.uint8)
    return small[..., 0].copy() if (small == small[..., :1]).all() else small


def _decoded(data: bytes, paper: int) -> Any:
    """Return the upright picture in a file as RGB."""
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is too large is refused below, with a sentence
            image = Image.open(io.BytesIO(data), formats=FORMATS)
            _check_size(*image.size)
            image.load()
            turned = ImageOps.exif_transpose(image)
        return _flat(image if turned is None else turned, paper)
    except DataError:
        raise
    except Image.DecompressionBombError:
        raise DataError(f"The picture has too many pixels; at most {PIXELS:,} can be read.") from None
    except Exception:  # decoders of foreign bytes raise nearly everything
        raise DataError(UNREADABLE) from None


def _check_size(width: int, height: int) -> None:
    if width * height > PIXELS:
        raise DataError(f"The picture has {width:,} x {height:,} pixels; at most {PIXELS:,} can be read.")


def _flat(image: Any, paper: int) -> Any:
    """Return any mode as RGB: 16 bits brought to 8, transparency laid on the paper."""
    from PIL import Image

    if image.mode in SIXTEEN:
        return Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    above = image.convert("RGBA")
    below = Image.new("RGBA", above.size, (paper, paper, paper, 255))
    return Image.alpha_composite(below, above).convert("RGB")


def _square(image: Any, fit: str, paper: int) -> Any:
    """Return the middle square of a picture, or all of it on a square of paper."""
    from PIL import Image

    width, height = image.size
    side = min(width, height) if fit == "crop" else max(width, height)
    if width == height:
        return image
    if fit == "crop":
        left, top = (width - side) // 2, (height - side) // 2
        return image.crop((left, top, left + side, top + side))
    _check_size(side, side)
    made = Image.new("RGB", (side, side), (paper, paper, paper))
    made.paste(image, ((side - width) // 2, (side - height) // 2))
    return made


def _resized(image: Any, side: int) -> Any:
    from PIL import Image

    return image if image.size == (side, side) else image.resize((side, side), Image.Resampling.BICUBIC)
