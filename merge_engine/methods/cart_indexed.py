"""CART-Indexing, compressed experts around their average."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ..contract import Context
from ..hp import hp
from ..maths import spectral
from ..maths.parts import DensePart, Part
from ..maths.svd import Factors
from ..problem import TensorGroup
from ..tensorwise import StoreMerge


@dataclass(frozen=True)
class CentredPart:
    """The mean task vector (m, n), and leading singular components of every expert's distance to it.

    `shared` says that s and V are stored with other rows of the matrix.
    """

    mean: Tensor
    factors: tuple[Factors, ...]

    shared: bool = False

    def __len__(self) -> int:
        """Return the number of experts."""
        return len(self.factors)

    def rows(self, first: int, last: int) -> CentredPart:
        """Return the part of some rows; s and V belong to the first ones, and the others share them."""
        cut = tuple(Factors(factors.U[first:last], factors.s, factors.Vh) for factors in self.factors)
        return CentredPart(self.mean[first:last], cut, shared=first > 0)

    def task_vector(self, index: int) -> Tensor:
        """Return mean + U diag(s) Vh of one expert, (m, n)."""
        return self.mean + self.factors[index].matrix()

    @property
    def stored_parameters(self) -> float:
        """Numbers of the factors: θ_avg, one model, takes the place of θ_0."""
        own = [factors[:1] if self.shared else factors for factors in self.factors]
        return float(sum(part.numel() for factors in own for part in factors))


@dataclass(frozen=True)
class CartIndexed(StoreMerge):
    """Keep the average and each expert's leading components around it, and serve the expert of the known task.

        C_t = θ_t − θ_avg,  W(t) = W_avg + λ SVD_k(C_t),  k = max(1, ⌊ρ r⌋)

    References
    ----------
    Choi, Kim, Lee, Hong, Revisiting Weight Averaging for Model Merging, arXiv:2412.12153.

    Notes
    -----
    A ceiling: it needs the task of every input, or a router. The store is the average model, which takes the place
    of the pretrained one, k (m + n + 1) numbers per block matrix and task, and every other tensor θ_avg + λ C_t whole.
    A router that looks at the pretrained model needs that one besides. ρ is that of CART, found with q, k and v fused:
    one budget for all three, whose s and V are then stored once.
    """

    title: ClassVar[str] = "CART-Indexing"
    family: ClassVar[str] = "Masks (task known)"
    keeps: ClassVar[str] = "average"
    idea: ClassVar[str] = "Store the average and, per task, a low-rank way from it to the expert."
    formula: ClassVar[str] = "W(t) = W_avg + λ SVDₖ(θₜ − θ_avg)"
    paper: ClassVar[str] = "Choi et al., Revisiting Weight Averaging for Model Merging, arXiv:2412.12153"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"failure": {"rank": 0.005}}
    lesson: ClassVar[str] = (
        "Two singular components per matrix cannot hold what an expert knows; the task is known and still half lost."
    )

    coefficient: float = hp(
        1.0,
        "Coefficient of an expert's distance to the average.",
        low=-10,
        high=10,
        soft=(0, 2),
        step=0.05,
        symbol="λ",
    )
    rank: float = hp(
        0.12, "Share of the rank (or, by energy, of the squared singular values) that every expert keeps.",
        low=0, high=1, step=0.01, symbol="ρ", sweep=(0.04, 0.08, 0.12, 0.16, 0.32),
    )  # fmt: skip
    rank_rule: str = hp(
        "fraction", "Number of components: a share of the rank, or the fewest that hold a share of the energy.",
        choices=("fraction", "energy"),
    )  # fmt: skip
    attention: str = spectral.attention()

    def remarks(self, tasks: tuple[str, ...]) -> list[str]:
        return ["CART-Indexing needs the task of every input, or a router: a ceiling, not one merged model."]

    def part(self, group: TensorGroup, ctx: Context, state: Any) -> Part:
        vectors, mean = spectral.centred(group.task_vectors)
        if not group.is_matrix:
            return DensePart(mean + self.coefficient * vectors)
        kept = [spectral.leading(ctx.svd(vector), self.rank, self.rank_rule) for vector in vectors]
        return CentredPart(mean, tuple(self._scaled(factors) for factors in kept))

    def _scaled(self, factors: Factors) -> Factors:
        """Multiply by λ and let go of the components that are not kept."""
        return Factors(factors.U.clone(), self.coefficient * factors.s, factors.Vh.clone())
