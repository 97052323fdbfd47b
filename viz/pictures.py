"""Pictures inside HTML, as data URIs of PNG files."""

from __future__ import annotations

import base64
import io

import numpy as np


def data_uri(picture: np.ndarray) -> str:
    """Return a picture, uint8 (h, w) or (h, w, 3), as the data URI of a PNG."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture, np.uint8)).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
