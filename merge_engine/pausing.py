"""Work on one tensor that takes long, with pauses at which a run can be stopped."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Iterable
from typing import TypeVar, cast

import torch
from torch import Tensor

from .contract import Step
from .maths.svd import Factors

T = TypeVar("T")
Pausing = Generator[None, None, T]
"""A generator that yields wherever it may be stopped, and returns what it made."""


def made_steps(make: Callable[[], T | Pausing[T]], moment: Step) -> Generator[Step, None, T]:
    """Return what is made, at once or with pauses; at every pause comes `moment`, which repeats what is done.

    Gradients are off in the making, and at a pause as the caller has them.
    """
    with torch.no_grad():
        made = make()
    if not inspect.isgenerator(made):
        return cast("T", made)
    while True:
        with torch.no_grad():
            try:
                next(made)
            except StopIteration as end:
                return end.value
        yield moment


def decomposed(svd: Callable[[Tensor], Factors], matrices: Iterable[Tensor]) -> Pausing[list[Factors]]:
    """Return the factors of matrices, pausing after each: one takes long where the store lacks it."""
    found = []
    for matrix in matrices:
        found.append(svd(matrix))
        yield
    return found
