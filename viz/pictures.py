"""Pictures inside HTML, as data URIs of PNG files."""

from __future__ import annotations

import base64
import io

import numpy as np

SMALL = 85  # quality of thumbnails, a third of the size of the same picture as PNG


def data_uri(picture: np.ndarray, *, small: bool = False) -> str:
    """Return a picture, uint8 (h, w) or (h, w, 3), as the data URI of a PNG, or of a `small` lossy WebP."""
    from PIL import Image
    from PIL import WebPImagePlugin as _webp  # noqa: F401  Pillow would read in all its formats to find this one

    file = io.BytesIO()
    kind, settings = ("webp", {"quality": SMALL, "method": 4}) if small else ("png", {"optimize": True})
    Image.fromarray(np.ascontiguousarray(picture, np.uint8)).save(file, kind, **settings)
    return f"data:image/{kind};base64," + base64.b64encode(file.getvalue()).decode()
