"""What happened while a method adapted, small enough to keep with the result and to replay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

KEPT_STATES = 64


@dataclass
class History:
    """Entropy (nats) by step and task, seconds since the start by step, and some states.

    `entropy[i]` and `seconds[i]` belong to update i + 1. `states[j]` is what the method said of itself after update
    `steps[j]`, arrays by name; update 0 is the start. `tensors` names the last axis of states by tensor; `ranks` says
    how many singular components the masks of a matrix have, which are kept as bits.
    """

    tasks: tuple[str, ...]
    tensors: tuple[str, ...] = ()
    ranks: Mapping[str, int] = field(default_factory=dict)
    entropy: list[list[float]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    states: list[Mapping[str, np.ndarray]] = field(default_factory=list)

    def keep(self, step: int, total: int, state: Callable[[], Mapping[str, np.ndarray]]) -> None:
        """Keep the state of about KEPT_STATES evenly spaced steps, the first and the last among them."""
        if step % max(1, -(-total // KEPT_STATES)) == 0 or step == total:
            self.states.append(state())
            self.steps.append(step)

    def thinned(self, count: int) -> History:
        """Return a copy with at most `count` states, evenly spaced, the first and the last among them.

        It is whole even while the history grows in another thread.
        """
        whole = len(self.steps)
        chosen = np.linspace(0, whole - 1, min(whole, max(2, count))).round().astype(int)
        return replace(self, steps=[self.steps[i] for i in chosen], states=[self.states[i] for i in chosen])

    def over_time(self, name: str) -> Any:
        """Return one array of all kept states, the step as first axis."""
        return np.stack([state[name] for state in self.states])

    def masks(self, tensor: str, moment: int) -> np.ndarray:
        """Return which components of a matrix are on in a kept state, boolean (T, r)."""
        return unpacked(self.states[moment][f"masks/{tensor}"], self.ranks[tensor])


def unpacked(bits: np.ndarray, rank: int) -> np.ndarray:
    """Return bits (T, ⌈r/8⌉) as boolean masks (T, r)."""
    return np.unpackbits(bits, axis=1, count=rank).astype(bool)
