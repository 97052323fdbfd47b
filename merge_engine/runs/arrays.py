"""Arrays with words about them in one compressed npz file, read only where it is of the content that is asked for."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

READ_LIMIT = 64 << 20
UNREADABLE = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile)


def packed(form: str, key: str, about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return a file of a format under a key of its content, arrays in float32."""
    words = json.dumps({"format": form, "key": key, **about}).encode()
    file = io.BytesIO()
    kept = {name: array.astype(np.float32) for name, array in arrays.items()}
    np.savez_compressed(file, about=np.frombuffer(words, np.uint8), **kept)  # pyright: ignore[reportArgumentType]
    return file.getvalue()


def read(path: Path, form: str, key: str) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """Return words and arrays of a file, or None where there is none of this format and key that can be read."""
    try:
        if path.stat().st_size > READ_LIMIT:
            return None
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            about = json.loads(file["about"].tobytes())
            if (about["format"], about["key"]) != (form, key):
                return None
            return about, {name: file[name] for name in file.files if name != "about"}
    except UNREADABLE:
        return None
