"""Pictures of 8-bit pixels to normalised tensors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..errors import DataError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


def normalised_pixels(raw: np.ndarray, size: int, mean: tuple, std: tuple) -> Tensor:
    """Resize uint8 pictures (N, h, w) or (N, h, w, 3) to (N, 3, size, size) and normalise per channel.

    Resampling is bicubic without antialiasing, clipped to the range of the pixels; a square picture is
    assumed, and grey pictures fill all three channels.
    """
    raw = np.asarray(raw)
    if raw.dtype != np.uint8 or raw.ndim not in (3, 4) or (raw.ndim == 4 and raw.shape[3] != 3):
        raise DataError(
            f"Pictures must be uint8 of shape (N, h, w) or (N, h, w, 3); got {raw.dtype} {raw.shape}."
        )
    pixels = torch.from_numpy(np.ascontiguousarray(raw)).float() / 255
    pixels = pixels[:, None] if raw.ndim == 3 else pixels.permute(0, 3, 1, 2)
    if pixels.shape[-2:] != (size, size):
        pixels = interpolate(pixels, size=(size, size), mode="bicubic", align_corners=False).clamp_(0, 1)
    mean_, std_ = (torch.tensor(values)[:, None, None] for values in (mean, std))
    return ((pixels - mean_) / std_).contiguous()
