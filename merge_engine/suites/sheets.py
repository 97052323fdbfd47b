"""Many small pictures as one lossless PNG sheet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import SuiteError

PER_ROW = 64


def write_sheet(path: Path, pictures: np.ndarray) -> None:
    """Write uint8 pictures (N, s, s) or (N, s, s, 3) as a PNG sheet, 64 a row, in reading order."""
    count, side = pictures.shape[:2]
    rows = -(-count // PER_ROW)
    sheet = np.zeros((rows * PER_ROW, *pictures.shape[1:]), np.uint8)
    sheet[:count] = pictures
    sheet = sheet.reshape(rows, PER_ROW, *pictures.shape[1:]).swapaxes(1, 2)
    sheet = sheet.reshape(rows * side, PER_ROW * side, *pictures.shape[3:])
    Image.fromarray(sheet).save(path, optimize=True)


def read_sheet(path: Path, count: int) -> np.ndarray:
    """Read the first `count` pictures of a sheet: uint8 (N, s, s) or (N, s, s, 3)."""
    with Image.open(path) as image:
        sheet = np.asarray(image)
    side = sheet.shape[1] // PER_ROW
    rows = sheet.shape[0] // side
    if count > rows * PER_ROW:
        raise SuiteError(f"{path} holds at most {rows * PER_ROW} pictures; its labels name {count}.")
    pictures = sheet.reshape(rows, side, PER_ROW, side, *sheet.shape[2:]).swapaxes(1, 2)
    return np.ascontiguousarray(pictures.reshape(rows * PER_ROW, side, side, *sheet.shape[2:])[:count])
