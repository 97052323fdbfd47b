"""Weights of their own for every input, without a weight tensor per input.

Every layer here is linear in its parameters, f(x; a + b) = f(x; a) + f(x; b), so blending parameters equals
blending what the layer makes of each part:

    f(x; θ + Σ_t w_t(x) v_t) = f(x; θ) + Σ_t w_t(x) f(x; v_t)

A `Share` holds v_t of one layer for all T experts and returns that sum.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from ..maths.blend import blend
from ..maths.parts import LowRankPart, Part, SparsePart, dense
from .prediction import Network
from .whole_module import WholeModule

BLENDED = 0.3
"""Numbers that a token is multiplied with, per number of matrices that are blended for its input first; measured."""


class Share(Protocol):
    """The experts' parts of one layer's parameters."""

    def added(self, layer: nn.Module, x: Tensor, w: Tensor) -> Tensor:
        """Return Σ_t w_t f(x; v_t) for x (B, N, n) and w (B, T), (1, T) for all inputs, or (B, N, T) by token."""
        ...

    def to(self, dtype: torch.dtype, device: torch.device | None = None) -> Share: ...
    @property
    def stored_parameters(self) -> float: ...
    @property
    def multiplied(self) -> float:
        """Numbers that a token is multiplied with."""
        ...


class _Tensors:
    """Shares are dataclasses of tensors, some of them absent."""

    def to(self, dtype: torch.dtype, device: torch.device | None = None) -> Any:
        """Return the share in another floating-point type, and on another device where one is given."""
        found = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        tensors = {name: value for name, value in found.items() if isinstance(value, Tensor)}
        cast = {n: v.to(device, dtype if v.is_floating_point() else v.dtype) for n, v in tensors.items()}
        return dataclasses.replace(self, **cast)  # type: ignore[type-var]

    @property
    def stored_parameters(self) -> float:
        tensors = [getattr(self, f.name) for f in dataclasses.fields(self)]  # type: ignore[arg-type]
        return float(sum(v.numel() for v in tensors if isinstance(v, Tensor) and v.is_floating_point()))

    @property
    def multiplied(self) -> float:
        return self.stored_parameters


@dataclass(frozen=True)
class DenseLinear(_Tensors):
    """Dense parts of a linear layer: weight (T, m, n), bias (T, m) or None."""

    weight: Tensor
    bias: Tensor | None = None

    def added(self, layer: nn.Module, x: Tensor, w: Tensor) -> Tensor:
        """Return Σ_t w_t (x W_tᵀ + b_t), (B, N, m).

        Weights that several tokens share blend the experts first, which takes T + N products of a number by a matrix
        instead of T N; weights of every token's own multiply all experts side by side.
        """
        by_token, matrices = _by_token(w, x), self.weight.permute(2, 0, 1)  # (n, T, m)
        if w.ndim == 2 and len(w) == 1:
            return x @ (w[0] @ matrices) + _vectors(self.bias, by_token)
        if w.ndim == 2 and x.ndim == 3:
            return blend(x, w, matrices) + _vectors(self.bias, by_token)
        weighted = (x.unsqueeze(-1) * by_token.unsqueeze(-2)).flatten(-2)  # (B, N, n·T)
        return weighted @ matrices.flatten(0, 1) + _vectors(self.bias, by_token)

    @property
    def multiplied(self) -> float:
        return BLENDED * self.stored_parameters


@dataclass(frozen=True)
class LowRankLinear(_Tensors):
    """Factored parts of a linear layer: `down` (R, n) and `up` (m, R) for the R components of all experts.

    `owner` (R,) is the expert of a component, ascending; bias (T, m) or None.
    """

    down: Tensor
    up: Tensor
    owner: Tensor
    bias: Tensor | None = None

    @classmethod
    def of(cls, part: LowRankPart, bias: Tensor | None = None) -> LowRankLinear:
        """Return the share of stored factors U diag(s) Vh, with s multiplied into U."""
        down = torch.cat([f.Vh for f in part.factors])
        up = torch.cat([f.U * f.s for f in part.factors], dim=1)
        owner = torch.cat([torch.full((len(f.s),), t) for t, f in enumerate(part.factors)])
        return cls(down.contiguous(), up.contiguous(), owner.to(down.device), bias)

    def added(self, layer: nn.Module, x: Tensor, w: Tensor) -> Tensor:
        """Return Σ_t w_t (x V_t diag(s_t) U_tᵀ + b_t), (B, N, m).

        One product with all components side by side; where most weights are nothing, expert by expert.
        """
        by_token = _by_token(w, x)
        shifts = _vectors(self.bias, by_token)
        if _mostly_nothing(by_token):
            return self._expert_by_expert(x, by_token.expand(*x.shape[:-1], -1)) + shifts
        inner = (x @ self.down.T) * by_token[..., self.owner]
        return inner @ self.up.T + shifts

    def _expert_by_expert(self, x: Tensor, by_token: Tensor) -> Tensor:
        """Return the sum over the tokens that have a weight for an expert, (B, N, m)."""
        tokens, weights = x.flatten(0, -2), by_token.flatten(0, -2)
        experts, rows = _something(weights).T.nonzero(as_tuple=True)  # expert by expert
        taken, scales = tokens[rows], weights[rows, experts].unsqueeze(1)
        counts, sizes = (of.bincount(minlength=weights.shape[1]).tolist() for of in (experts, self.owner))
        made = tokens.new_empty(len(rows), len(self.up))
        parts = zip(taken.split(counts), scales.split(counts), made.split(counts), strict=True)
        factors = zip(self.down.split(sizes), self.up.split(sizes, 1), strict=True)
        for (some, scale, out), (down, up) in zip(parts, factors, strict=True):
            torch.mm((some @ down.T).mul_(scale), up.T, out=out)
        return tokens.new_zeros(len(tokens), len(self.up)).index_add_(0, rows, made).unflatten(0, x.shape[:-1])


@dataclass(frozen=True)
class SparseLinear:
    """Sparse parts of a linear layer, as they are stored; `to` makes them dense, once for many products."""

    weight: SparsePart
    bias: Part | None = None
    _made: WeakValueDictionary[Any, DenseLinear] = field(
        default_factory=WeakValueDictionary, init=False, repr=False, compare=False
    )

    def to(self, dtype: torch.dtype, device: torch.device | None = None) -> DenseLinear:
        """Return the dense share in a floating-point type, and on another device where one is given.

        While somebody holds it, such as a run that is watched, it is not made again.
        """
        made = self._made.get((dtype, device))
        if made is None:
            made = DenseLinear(_side_by_side(dense(self.weight)), _stacked(self.bias)).to(dtype, device)
            self._made[dtype, device] = made
        return made

    def added(self, layer: nn.Module, x: Tensor, w: Tensor) -> Tensor:
        """Return Σ_t w_t (x W_tᵀ + b_t), (B, N, m)."""
        return self.to(x.dtype).added(layer, x, w)

    @property
    def stored_parameters(self) -> float:
        return self.weight.stored_parameters + (0.0 if self.bias is None else self.bias.stored_parameters)

    @property
    def multiplied(self) -> float:
        return BLENDED * len(self.weight) * self.weight.shape.numel()


@dataclass(frozen=True)
class Norm(_Tensors):
    """Parts of a LayerNorm: gain and bias, each (T, d) or None."""

    gain: Tensor | None
    bias: Tensor | None

    def added(self, layer: nn.Module, x: Tensor, w: Tensor) -> Tensor:
        """Return Σ_t w_t (x̂ ⊙ g_t + b_t), (B, N, d), where x̂ is x normalised."""
        by_token = _by_token(w, x)
        plain = layer_norm(x, layer.normalized_shape, None, None, layer.eps)  # type: ignore[arg-type]
        return plain * _vectors(self.gain, by_token) + _vectors(self.bias, by_token)


@dataclass(frozen=True)
class Scale(_Tensors):
    """Parts of an elementwise scale, (T, d)."""

    gain: Tensor

    def added(self, layer: nn.Module, x: Tensor, w: Tensor) -> Tensor:
        """Return Σ_t w_t (x ⊙ g_t), (B, N, d)."""
        return x * _vectors(self.gain, _by_token(w, x))


def _by_token(w: Tensor, x: Tensor) -> Tensor:
    """(B, T) or (B, N, T) as something that broadcasts over the tokens of x, (B, N, n), or over (B, n) as it is."""
    return w.unsqueeze(1) if w.ndim == 2 and x.ndim == 3 else w


def _something(w: Tensor) -> Tensor:
    """True where a weight is more than rounding."""
    return w.abs() > torch.finfo(w.dtype).eps


def _mostly_nothing(w: Tensor) -> bool:
    """True where at most half of the weights count, no gradient is asked for and asking does not stall a device."""
    return w.device.type == "cpu" and not torch.is_grad_enabled() and 2 * int(_something(w).sum()) <= w.numel()


def _vectors(values: Tensor | None, by_token: Tensor) -> Tensor | float:
    """Σ_t w_t v_t for vectors (T, d); zero where there are none."""
    return 0.0 if values is None else by_token @ values


def shares_of(parts: Mapping[str, Part], layers: Mapping[str, nn.Module]) -> tuple[dict[str, Share], list[str]]:
    """Return the shares of all layers whose tensors have parts, and the names that belong to no such layer.

    `layers` are such as `Network.layers` returns them, all linear in their parameters.
    """
    left, found = dict(parts), {}
    for path, layer in layers.items():
        own = {leaf: left.pop(f"{path}.{leaf}", None) for leaf, _ in layer.named_parameters()}
        if any(part is not None for part in own.values()):
            found[path] = _share(layer, own)
    return found, sorted(left)


def _share(layer: nn.Module, own: dict[str, Part | None]) -> Share:
    if isinstance(layer, nn.Embedding | nn.Conv2d) or [*layer.children()]:
        return WholeModule({name: part for name, part in own.items() if part is not None})
    weight, bias = own.get("weight"), own.get("bias")
    if isinstance(weight, SparsePart):
        return SparseLinear(weight, bias)
    bias = _stacked(bias)
    if isinstance(layer, nn.Linear):
        if isinstance(weight, LowRankPart):
            return LowRankLinear.of(weight, bias)
        matrices = _stacked(weight)
        if matrices is None:
            assert bias is not None
            matrices = bias.new_zeros(len(bias), layer.out_features, layer.in_features)
        return DenseLinear(_side_by_side(matrices), bias)
    if isinstance(layer, nn.LayerNorm):
        return Norm(_stacked(weight), bias)
    gain = _stacked(next(iter(own.values())))
    assert gain is not None
    return Scale(gain)


def _stacked(part: Part | None) -> Tensor | None:
    return None if part is None else dense(part)


def _side_by_side(weight: Tensor) -> Tensor:
    """Lay (T, m, n) out so that what all experts make of a number lies together, (n, T, m)."""
    return weight.permute(2, 0, 1).contiguous().permute(1, 2, 0)


@dataclass(frozen=True, eq=False)
class Decision:
    """How the inputs of one batch are blended.

    `weigh` returns w of a layer from its path, module and input, as `Share.added` takes it; where all layers have the
    same, `w` (B, T) holds it. `picked` (B,) numbers the expert whose head answers, None where the head is given.
    """

    weigh: Callable[[str, nn.Module, Tensor], Tensor]
    w: Tensor | None = None
    picked: Tensor | None = None

    @classmethod
    def same(cls, w: Tensor, picked: Tensor | None = None) -> Decision:
        """Return a decision found before the pass, the same in all layers."""
        return cls(lambda path, layer, x: w, w, picked)


class Weighting(Protocol):
    """How the coefficients of a blend come about.

    `forwards` are extra passes of one model, 0 inside the pass; `reads` and `stored_parameters` as of a router.
    """

    def ready(self, network: Network) -> Callable[[Tensor], Decision]:
        """Return what decides about a batch of inputs."""
        ...

    @property
    def forwards(self) -> float: ...
    @property
    def reads(self) -> str: ...
    @property
    def stored_parameters(self) -> float: ...


def blended(
    network: Network,
    shared: Mapping[str, Tensor],
    shares: Mapping[str, Share],
    decision: Decision,
    inputs: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return features (B, D) under θ_shared + Σ_t w_t(x) v_t, and the route (B, L, T).

    L are the layers with shares, in the order of `shares`; where none has any, the route is what was decided for all
    layers, (B, 1, T), or (B, 0, 0). Differentiable in the weights and in the shares.
    """
    used: dict[str, Tensor] = {}

    def change(path: str, share: Share) -> Callable[[nn.Module, Tensor, Tensor], Tensor]:
        def added(layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
            w = decision.weigh(path, layer, x).to(y)
            used[path] = (w if w.ndim == 2 else w.mean(1)).detach()
            extra = share.added(layer, x, w)
            return y.add_(extra) if y.shape == extra.shape else y + extra  # one output for all inputs: positions

        return added

    changes = {path: change(path, share) for path, share in shares.items()}
    features = network.features(shared, inputs, changes)
    ordered = [used[path].expand(len(features), -1) for path in shares if path in used]
    if not ordered and decision.w is not None:
        ordered = [decision.w.detach()]
    return features, torch.stack(ordered, dim=1) if ordered else features.new_zeros(len(features), 0, 0)
