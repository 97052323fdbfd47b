"""Where models run: on the CPU, unless a command or the environment names another device."""

from __future__ import annotations

import os

import torch

from .errors import RecipeError

VARIABLE = "MERGESCOPE_DEVICE"


def chosen_device(name: str | None = None) -> torch.device:
    """Return the device of this name; without one that of the environment variable MERGESCOPE_DEVICE, else the CPU.

    Raises RecipeError when it is not on this machine.
    """
    name = name or os.environ.get(VARIABLE) or "cpu"
    if name not in (known := known_devices()):
        raise RecipeError(f"Device '{name}' is not on this machine; choose one of {', '.join(known)}.")
    if name.startswith("cuda"):
        torch.backends.cudnn.allow_tf32 = False  # convolutions would round float32 to ten bits
    return torch.device(name)


def known_devices() -> tuple[str, ...]:
    """Return the names of the devices of this machine, such as `cpu`, `cuda`, `cuda:0`."""
    kind = torch.accelerator.current_accelerator(check_available=True)
    if kind is None:
        return ("cpu",)
    return ("cpu", kind.type, *(f"{kind.type}:{i}" for i in range(torch.accelerator.device_count())))


def fastest() -> str:
    """Return `cuda` where there is such a device, else `cpu`; other accelerators lack float64."""
    return "cuda" if torch.cuda.is_available() else "cpu"
