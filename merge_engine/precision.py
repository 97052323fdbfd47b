"""Which arithmetic is fast here. The page scores in it; tables and the command line stay in float32."""

from __future__ import annotations

import os

import torch

from .devices import chosen_device
from .errors import RecipeError, no_such

VARIABLE = "MERGESCOPE_PRECISION"
KNOWN = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def live_dtype() -> torch.dtype:
    """Return bfloat16 where what models run on multiplies it in hardware (AMX, AVX-512 BF16, GPUs), else float32.

    The environment variable MERGESCOPE_PRECISION, float32 or bfloat16, decides instead.
    """
    asked = os.environ.get(VARIABLE, "")
    if asked:
        if asked not in KNOWN:
            raise RecipeError(no_such("precision", asked, KNOWN))
        return KNOWN[asked]
    return torch.bfloat16 if _multiplies_bfloat16(chosen_device()) else torch.float32


def name_of(dtype: torch.dtype) -> str:
    """Return the name of a precision, such as `bfloat16`."""
    return str(dtype).removeprefix("torch.")


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(bool(getattr(torch.cpu, probe, lambda: False)()) for probe in probes)
