"""How much memory a merge and its scoring need at most, by the kind of method, before they run.

Experts are read one tensor at a time, so most merges hold one model and the work on the largest tensor. What adapts
holds every task vector; what serves several experts keeps them ready to run.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..adapting.adaptive import AdaptiveMerge
from ..contract import MergeMethod
from ..maths.svd import SvdStore
from ..merged import EXPERTS_IN_MEMORY
from ..tensorwise import StoreMerge, TensorMerge

FLOAT = 4  # bytes of a number while merging
COPIES = 5  # of all experts' share of a tensor: as read, side by side, as task vectors, and two steps of the maths
STATISTICS = 6  # models that statistics of inputs or gradients, and what they are summed from, weigh
COURSE = 4  # models beside the task vectors: the one built, its gradient, the watched snapshot, and it ready to score
ACTIVATIONS = 12  # numbers that a layer keeps of a token for the way back, in widths


@dataclass(frozen=True)
class Size:
    """What is merged: parameters of one model and of its largest tensor, experts, and bytes of a number in scoring."""

    model: float
    largest: float
    experts: int
    scoring: int


def memory(method: MergeMethod, size: Size, stored: float) -> float:
    """Return bytes needed at most beside what the process holds anyway; `stored` are the parameters a merge leaves."""
    one = FLOAT * size.model
    ready = one + (size.scoring * size.model if size.scoring < FLOAT else 0.0)  # read as floats, then cast
    work = FLOAT * COPIES * size.experts * size.largest
    work += SvdStore.memory_limit if method.decomposes() else 0.0
    if isinstance(method, TensorMerge):
        work += STATISTICS * one if method.needs else 0.0
        return one + max(work, ready)
    served = min(size.experts, EXPERTS_IN_MEMORY) * size.scoring * size.model + one
    parts = FLOAT * (stored - size.model)
    if isinstance(method, StoreMerge):
        return parts + max(work, served)
    if isinstance(method, AdaptiveMerge) and method.kind == "adaptive":
        return size.experts * one + COURSE * one + work
    return parts + one + max(work, served)
