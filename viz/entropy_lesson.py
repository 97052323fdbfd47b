"""When minimising entropy helped in a run and when it did not, in a sentence or two made from its numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SURER = 0.97  # of the entropy at the start
APART = 3.0  # points by which two groups of tasks begin apart
STILL = "Entropy has hardly fallen yet: the predictions are as unsure as they were at the start."
SURER_ONLY = "Entropy fell, yet no task gained or lost two pictures: predictions grew surer, neither better nor worse."
AS_SAID = "Minimising entropy strengthens what a model says already, right or wrong"


def lesson(tasks: Sequence[str], start: np.ndarray, end: np.ndarray, entropy: np.ndarray, pictures: int = 0) -> str:
    """Return who grew surer and better, and who only surer, from accuracies (T,) in % and entropies (2, T).

    A change of accuracy counts from two of the `pictures` of a task on; less is noise.
    """
    change, fall = end - start, entropy[0] - entropy[1]
    noise = 200 / pictures - 1e-6 if pictures else 2.0
    surer = entropy[1] < SURER * entropy[0]
    worse, better = surer & (change <= -noise), surer & (change >= noise)
    if worse.any():
        return (
            f"{listed(tasks, worse)} grew surer and worse: entropy fell by {fall[worse].mean():.2f} nats and accuracy "
            f"by {-change[worse].mean():.1f} points. {_contrast(tasks, start, change, worse, better)}"
        )
    if better.any():
        return (
            f"{listed(tasks, better)} grew surer and better, by {change[better].mean():.1f} points, and no task grew "
            f"surer and worse. {start[better].mean():.0f} % of their predictions were right at the start. {AS_SAID}."
        )
    return SURER_ONLY if surer.any() else STILL


def _contrast(
    tasks: Sequence[str], start: np.ndarray, change: np.ndarray, worse: np.ndarray, better: np.ndarray
) -> str:
    """Return how the tasks that lost began, beside those that gained."""
    if not better.any():
        return f"{AS_SAID}; here no task gained by it."
    low, high = start[worse].mean(), start[better].mean()
    gained = f"{listed(tasks, better)} gained {change[better].mean():.1f}"
    if low < high - APART:
        return f"{gained}; there {high:.0f} % was right at the start, here {low:.0f} %. {AS_SAID}."
    return f"{gained}, though {high:.0f} % was right there at the start and {low:.0f} % here: that did not decide it."


def listed(names: Sequence[str], chosen: np.ndarray) -> str:
    """Return the chosen names in a sentence: a, b and c."""
    found = [name for name, on in zip(names, chosen, strict=True) if on]
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}"
