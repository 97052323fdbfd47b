"""How much of the experts a merge with exclusive parts holds in its shared model, and how much apart."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ..routing.twin_energy import Energies
from ._measured import Measured, Row, quantity
from ._metric import Metric
from ._swept import ratio


@dataclass(frozen=True, eq=False)
class TwinEnergy(Measured):
    """Energies ‖·‖_F² of the tensors of every block, and of all blocks together."""

    shared: np.ndarray = field(metadata=quantity("row", "Energy of the shared model beside the pretrained one."))
    exclusive: np.ndarray = field(metadata=quantity("row expert", "Energy of the expert beside the shared model."))
    kept: np.ndarray = field(metadata=quantity("row expert", "Energy of the exclusive part as it is kept."))
    kept_share: np.ndarray = field(
        metadata=quantity("row expert", "Kept over exclusive; missing where an expert has nothing of its own.")
    )


@dataclass(frozen=True)
class MeasureTwinEnergy(Metric):
    """Compare the energy of a shared model with that of the experts' exclusive parts, before and after compression.

        shared = ‖θ_s − θ_0‖²,  exclusive_t = ‖θ_t − θ_s‖²,  kept_t = ‖v_t‖²

    References
    ----------
    Lu, Fan, Wei, Qu, Chen, Cheng, Twin-Merging: Dynamic Integration of Modular Expertise in Model Merging, NeurIPS
    2024, arXiv:2406.15479.

    Notes
    -----
    Tensors outside the blocks are not counted. The parts v_t are as compression left them: at the rank share of the
    merge, or as entries that were kept, which may be rescaled and then hold more energy than there was.
    """

    title: ClassVar[str] = "Shared and exclusive energy"
    about: ClassVar[str] = "How much of the experts the shared model holds, and what their exclusive parts keep."
    formula: ClassVar[str] = "‖θₛ − θ₀‖²,  ‖θₜ − θₛ‖²,  ‖vₜ‖²"
    reference: ClassVar[str] = "Lu et al., Twin-Merging, NeurIPS 2024, arXiv:2406.15479"
    unit: ClassVar[str] = "squared Frobenius norm"
    source: ClassVar = "merge"
    levels: ClassVar[tuple[str, ...]] = ("all", "block")
    shown: ClassVar[tuple[str, ...]] = ("all", "block")
    produces: ClassVar = TwinEnergy
    headline: ClassVar[str] = "exclusive"

    def measure(self, energies: Energies) -> TwinEnergy:
        """Put the energies of a merge by block below their sums."""
        found = (energies.shared, energies.exclusive, energies.kept)
        shared, exclusive, kept = (np.concatenate([each.sum(0, keepdims=True), each]) for each in found)
        rows = (Row("all"), *(Row("block", block=block) for block in energies.blocks))
        share = np.concatenate([ratio(kept[:1], exclusive[:1]), energies.share])
        return TwinEnergy(energies.experts, rows, shared, exclusive, kept, share)
