"""What a merge takes to keep and to make."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ..merged import Merged, PerTaskMerged
from ..problem import Problem
from ._measured import Measured, quantity
from ._metric import Metric
from ._swept import Swept, ratio

FLOAT_BYTES = 4


@dataclass(frozen=True, eq=False)
class Cost(Measured):
    """Storage of a merge, per tensor and in all, and its seconds (row `all` only)."""

    parameters: np.ndarray = field(metadata=quantity("row", "Numbers to store; a mask bit counts 1/32."))
    relative: np.ndarray = field(metadata=quantity("row", "Numbers to store over those of the pretrained model."))
    experts: np.ndarray = field(metadata=quantity("row", "Numbers of all experts, what merging saves from."))
    bytes: np.ndarray = field(metadata=quantity("row", "Bytes in float32."))
    disk: np.ndarray = field(metadata=quantity("row", "Bytes of the file that was written; missing without one."))
    merge_seconds: np.ndarray = field(metadata=quantity("row", "Seconds to merge; missing if not timed."))
    score_seconds: np.ndarray = field(metadata=quantity("row", "Seconds to score; missing if not timed."))


@dataclass(frozen=True)
class MeasureCost(Metric):
    """Count what a merge stores, in units of one float parameter, and carry its timings.

        one model: P;  one part per expert: P + Σ_t (its factors, masks or task vector)

    References
    ----------
    Conventions of this program.

    Notes
    -----
    Heads are not counted. Bits count 1/32 of a parameter. Bytes are four per parameter, whatever the file's dtype.
    """

    title: ClassVar[str] = "Cost"
    about: ClassVar[str] = "How much a merge has to store, beside one model and all experts, and how long it took."
    formula: ClassVar[str] = "P,  or P + Σₜ parts"
    reference: ClassVar[str] = "Conventions of this program"
    unit: ClassVar[str] = "parameters"
    source: ClassVar = "merge"
    produces: ClassVar = Cost
    headline: ClassVar[str] = "relative"

    def measure(
        self,
        problem: Problem,
        merged: Merged,
        *,
        merge_seconds: float = np.nan,
        score_seconds: float = np.nan,
        disk: float = np.nan,
    ) -> Cost:
        """Count a merge of a problem; timings and file size are passed through."""
        found = []
        for name in problem.pretrained:
            base = float(problem.pretrained[name].numel())
            part = merged.parts[name] if isinstance(merged, PerTaskMerged) and name in merged.parts else None
            stored = base + (part.stored_parameters if part is not None else 0.0)
            found.append((name, problem.architecture.place(name), {"base": np.array(base), "stored": np.array(stored)}))
        swept = Swept((), len(problem.tasks), found)
        base, stored = swept.total("base"), swept.total("stored")
        stored[0] = merged.stored_parameters
        once = np.where([row.level == "all" for row in swept.rows], 1.0, np.nan)
        return Cost(
            problem.tasks, swept.rows, stored, ratio(stored, base), base * len(problem.tasks), stored * FLOAT_BYTES,
            once * disk, once * merge_seconds, once * score_seconds,
        )  # fmt: skip
