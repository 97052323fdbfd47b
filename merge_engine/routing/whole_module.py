"""Parts of a module outside the blocks, such as an embedding, whose output is linear in all its parameters together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..maths.parts import DensePart, Part, dense


@dataclass(frozen=True)
class WholeModule:
    """The experts' parts of a module's parameters, by name inside it; a parameter without a part has none.

    With class token c, patch weights W and position embedding p, f(x; c, W, p) = [c; W x] + p, so that
    f(x; θ + Σ_t w_t v_t) = f(x; θ) + Σ_t w_t f(x; v_t).
    """

    parts: Mapping[str, Part]

    def to(self, dtype: torch.dtype, device: torch.device | None = None) -> WholeModule:
        """Return the share with its vectors in memory, in a floating-point type and perhaps on another device."""
        return WholeModule({name: DensePart(dense(part).to(device, dtype)) for name, part in self.parts.items()})

    def added(self, layer: nn.Module, x: Tensor, w: Tensor) -> Tensor:
        """Return Σ_t w_t f(x; v_t) for what the module takes and w (B, T), or (1, T) for all inputs."""
        total: Tensor | float = 0.0
        for t in range(w.shape[1]):
            one = _output(layer, {name: part.task_vector(t) for name, part in self.parts.items()}, x)
            total = total + w[:, t].view(-1, *[1] * (one.ndim - 1)) * one
        assert isinstance(total, Tensor)
        return total

    @property
    def stored_parameters(self) -> float:
        return sum(part.stored_parameters for part in self.parts.values())

    @property
    def multiplied(self) -> float:
        return self.stored_parameters


class _Bare(nn.Module):
    """A module without its hooks, which would ask for the parts again."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return self.module.forward(x)


def _output(module: nn.Module, own: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Return f(x; v), where parameters without a part are 0."""
    given = {
        f"module.{name}": own[name].reshape(p.shape) if name in own else torch.zeros_like(p)
        for name, p in module.named_parameters()
    }
    return torch.func.functional_call(_Bare(module), given, (x,))

