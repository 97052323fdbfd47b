"""The block matrices of a suite's backbone by place."""

from __future__ import annotations

from .problem import MATRIX_KINDS
from .suite import Suite


def matrices(suite: Suite, block: int | None = None, kind: str | None = None) -> list[str]:
    """Return the names of the block matrices, of one block, of one kind, or of both."""
    found = []
    for name in suite.pretrained:
        place = suite.backbone.place(name)
        if place.kind in MATRIX_KINDS and block in (None, place.block) and kind in (None, place.kind):
            found.append(name)
    return found


def depth(suite: Suite) -> int:
    """Return the number of blocks."""
    blocks = (suite.backbone.place(name).block for name in suite.pretrained)
    return 1 + max((b for b in blocks if b is not None), default=-1)
