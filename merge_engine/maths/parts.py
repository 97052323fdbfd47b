"""How the experts' shares of one tensor are kept: dense, sparse, as singular components, or as masks of one vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .svd import Factors


class Part(Protocol):
    """The task vectors of all experts for one tensor, in some storage."""

    def __len__(self) -> int: ...
    def task_vector(self, index: int) -> Tensor: ...
    @property
    def stored_parameters(self) -> float: ...


@dataclass(frozen=True)
class DensePart:
    """Every task vector as it is, (T, *S)."""

    values: Tensor

    def __len__(self) -> int:
        """Return the number of experts."""
        return len(self.values)

    def task_vector(self, index: int) -> Tensor:
        """Return the task vector of one expert, shape S."""
        return self.values[index]

    @property
    def stored_parameters(self) -> float:
        return float(self.values.numel())


@dataclass(frozen=True)
class LowRankPart:
    """Leading singular components of every task matrix: U (m, k), s (k,), Vh (k, n) for each of T."""

    factors: tuple[Factors, ...]

    def __len__(self) -> int:
        """Return the number of experts."""
        return len(self.factors)

    def task_vector(self, index: int) -> Tensor:
        """Return U diag(s) Vh of one expert, (m, n)."""
        return self.factors[index].matrix()

    @property
    def stored_parameters(self) -> float:
        return float(sum(part.numel() for factors in self.factors for part in factors))


@dataclass(frozen=True)
class SparsePart:
    """Some entries of every task vector, of shape S: a bit per entry says which, their values stand in order."""

    shape: torch.Size
    bits: Tensor
    values: tuple[Tensor, ...]

    @classmethod
    def of(cls, vectors: Tensor, kept: Tensor) -> SparsePart:
        """Store the kept entries of task vectors; both (T, *S)."""
        values = tuple(v[k] for v, k in zip(vectors, kept, strict=True))
        return cls(vectors.shape[1:], _packed(kept), values)

    def __len__(self) -> int:
        """Return the number of experts."""
        return len(self.values)

    def task_vector(self, index: int) -> Tensor:
        """Return one task vector with zeros where nothing is kept, shape S."""
        kept = _unpacked(self.bits[index], self.shape)
        dense = torch.zeros(self.shape, dtype=self.values[index].dtype, device=kept.device)
        return dense.masked_scatter_(kept, self.values[index])

    @property
    def stored_parameters(self) -> float:
        return sum(v.numel() for v in self.values) + len(self.values) * self.shape.numel() / 32


@dataclass(frozen=True)
class MaskedPart:
    """One unified vector (S), a bit per entry and expert, and a rescale per expert: rescale_t · mask_t ⊙ unified."""

    unified: Tensor
    bits: Tensor
    rescale: tuple[float, ...]

    @classmethod
    def of(cls, unified: Tensor, masks: Tensor, rescale: tuple[float, ...]) -> MaskedPart:
        """Pack boolean masks (T, *S) into bytes, eight entries each."""
        return cls(unified, _packed(masks), rescale)

    def __len__(self) -> int:
        """Return the number of experts."""
        return len(self.rescale)

    def mask(self, index: int) -> Tensor:
        """Return the boolean mask of one expert, shape S."""
        return _unpacked(self.bits[index], self.unified.shape)

    def task_vector(self, index: int) -> Tensor:
        """Return rescale_t · mask_t ⊙ unified, shape S."""
        return self.rescale[index] * self.mask(index) * self.unified

    @property
    def stored_parameters(self) -> float:
        return self.unified.numel() + len(self.rescale) * self.unified.numel() / 32


def dense(part: Part) -> Tensor:
    """Return all task vectors of a part, (T, *S)."""
    if isinstance(part, DensePart):
        return part.values
    return torch.stack([part.task_vector(t) for t in range(len(part))])


def _packed(masks: Tensor) -> Tensor:
    """Return boolean masks (T, *S) as bytes (T, ⌈S / 8⌉), eight entries each."""
    flat = masks.reshape(len(masks), -1).to(torch.uint8)
    flat = torch.nn.functional.pad(flat, (0, -flat.shape[1] % 8)).reshape(len(masks), -1, 8)
    powers = 2 ** torch.arange(8, dtype=torch.uint8, device=masks.device)
    return (flat * powers).sum(-1, dtype=torch.uint8)


def _unpacked(bits: Tensor, shape: torch.Size) -> Tensor:
    """Return one boolean mask of shape S from its bytes."""
    shifts = torch.arange(8, dtype=torch.uint8, device=bits.device)
    flat = (bits.unsqueeze(-1) >> shifts) & 1
    return flat.reshape(-1)[: shape.numel()].reshape(shape).bool()
