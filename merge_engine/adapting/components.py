"""What one tensor may take from every expert: singular components with masks, or the whole task vector.

    Δ = offset + Σ_t λ_t M_t,   M_t = fixed_t + Σ_r b_tr s_tr u_tr v_trᵀ
    ∂L/∂λ_t = ⟨G, M_t⟩,   ∂L/∂b_tr = λ_t s_tr u_trᵀ G v_tr,   G = ∂L/∂Δ

The components of all T experts lie side by side, so that u_trᵀ G v_tr of all of them takes one product. While every b
is 0 or 1, M_t is kept dense, only the components that change sides are added or taken away, and only the vectors of
those are held that still can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..maths.ops import flat
from ..maths.svd import Factors
from ..problem import TensorGroup


@dataclass
class Components:
    """The experts' parts of one tensor of shape S, or of several that are fused along rows.

    `kept` (T, *S) is M_t as it stands, without soft components. K components have masks that are learned, expert by
    expert: `s`, `owner` and `place` (K,) are their values, experts and places in the spectrum, and `left` (O, m) and
    `right` (O, n) the vectors of those numbered `open` (O,), which can still change sides. `start` (T, r) says what is
    on at first, fixed components included; `on` (K,) what is on.
    """

    names: tuple[str, ...]
    rows: tuple[int, ...]
    kept: Tensor
    offset: Tensor | None
    left: Tensor
    s: Tensor
    right: Tensor
    owner: Tensor
    place: Tensor
    start: Tensor
    on: Tensor
    open: Tensor

    @classmethod
    def whole(cls, group: TensorGroup, kept: Tensor, offset: Tensor | None = None) -> Components:
        """Return a tensor without components: M_t is `kept` (T, *S)."""
        none = kept.new_zeros(0, 1)
        places = torch.zeros(0, dtype=torch.long, device=kept.device)
        start = places.bool().expand(len(kept), 0)
        return cls(
            group.names, _rows(group), kept, offset, none, none[:, 0], none, places, places, start, start[0], places
        )

    @classmethod
    def of(
        cls,
        group: TensorGroup,
        parts: Sequence[Factors],
        count: int,
        *,
        on: int,
        learned: int,
        soft: bool = False,
        offset: Tensor | None = None,
        total: Tensor | None = None,
    ) -> Components:
        """Return a matrix by at most `count` components of every expert, in falling order.

        The first `on` of them start on, the first `learned` have masks that are learned; soft ones stay out of
        `kept`. `total` (T, m, n) is the sum of all components, where that is known.
        """
        device, chosen = group.pretrained.device, [part.top(learned) for part in parts]
        places = [torch.arange(len(part.s), device=device) for part in chosen]
        owner = torch.cat([torch.full_like(p, t) for t, p in enumerate(places)])
        start = torch.stack([torch.arange(count, device=device) < min(on, len(part.s)) for part in parts])
        kept = total
        if kept is None or on < count or soft:
            kept = torch.stack([_between(part, learned if soft else 0, on).matrix() for part in parts])
        left, right = torch.cat([part.U.T for part in chosen]), torch.cat([part.Vh for part in chosen])
        s, place = torch.cat([part.s for part in chosen]), torch.cat(places)
        return cls(
            group.names, _rows(group), kept, offset, left, s, right, owner, place, start, start[owner, place],
            torch.arange(len(s), device=device),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.s)

    def narrow(self, can_change: Tensor) -> None:
        """Let go of the vectors of components that cannot change sides any more, once a tenth cannot; (K,), boolean."""
        still = can_change[self.open]
        if int(still.sum()) < 0.9 * len(still):
            self.open, self.left, self.right = self.open[still], self.left[still], self.right[still]

    def switch(self, on: Tensor) -> None:
        """Set the masks (K,), boolean: M_t changes by Σ ± s u vᵀ over the components that change sides."""
        changed = (on != self.on)[self.open].nonzero().squeeze(1)  # among the open ones
        which = self.open[changed]
        signed = torch.where(on[which], self.s[which], -self.s[which])
        counts = self.owner[which].bincount(minlength=len(self.kept)).tolist()
        for kept, rows, sign in zip(self.kept, changed.split(counts), signed.split(counts), strict=True):
            if len(rows):
                kept.addmm_(self.left[rows].T * sign, self.right[rows])
        self.on = on

    def change(self, coefficients: Tensor, soft: Tensor | None = None) -> Tensor:
        """Return Δ (*S) for λ (T,); soft masks (K,) add one product for all experts."""
        total = (coefficients @ flat(self.kept)).view(self.kept.shape[1:])
        if soft is not None and len(self):
            total.addmm_(self.left.T * (coefficients[self.owner] * soft * self.s), self.right)
        return total if self.offset is None else total.add_(self.offset)

    def alignment(self, gradient: Tensor) -> Tensor:
        """Return s uᵀ G v of all components (K,), for G (m, n); 0 for those that are not open."""
        if gradient.shape[0] >= gradient.shape[1]:
            found = torch.linalg.vecdot(self.left @ gradient, self.right)
        else:
            found = torch.linalg.vecdot(self.right @ gradient.T, self.left)
        return self.s * torch.zeros_like(self.s).index_copy(0, self.open, found)

    def slopes(self, gradient: Tensor) -> Tensor:
        """Return ∂L/∂λ (T,), without soft components."""
        return flat(self.kept) @ gradient.flatten()

    def by_name(self, value: Tensor) -> dict[str, Tensor]:
        """Return a tensor of shape S under its names, fused rows apart."""
        pieces = value.split(self.rows) if len(self.names) > 1 else (value,)
        return {name: piece.contiguous() for name, piece in zip(self.names, pieces, strict=True)}

    def spread(self, values: Tensor) -> Tensor:
        """Return one value per learned component (K,) as (T, r), fixed ones as they start."""
        spread = self.start.to(values.dtype)
        return spread.index_put((self.owner, self.place), values)


def packed(masks: Tensor) -> np.ndarray:
    """Return boolean masks (T, r) as bits, uint8 (T, ⌈r/8⌉)."""
    return np.packbits(masks.numpy(force=True), axis=1)


def _between(factors: Factors, first: int, last: int) -> Factors:
    return Factors(factors.U[:, first:last], factors.s[first:last], factors.Vh[first:last])


def _rows(group: TensorGroup) -> tuple[int, ...]:
    """Rows of every name of a group: q, k and v have equal ones."""
    return (
        (group.pretrained.shape[0] // len(group.names),) * len(group.names) if group.pretrained.ndim else (1,)
    )
