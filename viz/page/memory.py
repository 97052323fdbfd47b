"""Giving freed memory back to the system."""

from __future__ import annotations

import ctypes
import sys
from functools import lru_cache
from typing import Any

MMAP_THRESHOLD, LARGE = -3, 1 << 20  # the C library's name of the bound, and bytes above which a block is on its own


def keep_large_blocks_apart() -> None:
    """Have the C library (glibc) return every large block when it is freed.

    Else what a merge keeps, small and laid between large blocks that come and go, holds on to several times its size.
    """
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt"):
        ctypes.CDLL(None).mallopt(MMAP_THRESHOLD, LARGE)


def give_back() -> None:
    """Return freed memory to the system where the C library keeps it (glibc); a merge leaves several hundred MB."""
    trim = _trim()
    if trim is not None:
        trim(0)


@lru_cache(maxsize=1)
def _trim() -> Any:
    return getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
