"""Which matrices methods ask the SVD of, by a word, so that what a merge costs is known before it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from .spectral import centred

EACH: Mapping[str, Callable[[Tensor], list[Tensor]]] = {
    "": lambda vectors: [],
    "experts": list,
    "mlps": list,
    "centred": lambda vectors: list(centred(vectors)[0]),
    "sum": lambda vectors: [vectors.sum(0)],
    "joint": lambda vectors: [torch.cat(tuple(vectors), 1)],
    "apart": list,
    "merged": lambda vectors: [vectors.sum(0)],
}
"""From the task vectors (T, m, n) of one tensor to the matrices; for the words of `UNTOLD` to others of their shapes.

"experts" are the task vectors, "mlps" those of MLPs alone, "centred" those minus their mean, "sum" their sum, "joint"
all of them side by side; "apart" are the experts' differences to another merge, and "merged" is the task vector of
a merge.
"""
KINDS: Mapping[str, tuple[str, ...]] = {"mlps": ("fc1", "fc2")}
"""The kinds of matrices that a word is about, where it is not about all of a block."""
UNTOLD = ("apart", "merged")
"""Words of matrices that are known only while merging."""
