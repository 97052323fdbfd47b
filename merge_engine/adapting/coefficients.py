"""Merging coefficients, and masks over singular components, that gradients reach through the merged weights alone.

Weights are built once per step and are leaves while all tasks are differentiated, so the graph of no task contains
their construction; G = Σ_t ∂L_t/∂W then goes to coefficients and masks in closed form (`components`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ..merged import StaticMerged
from ..problem import Problem
from ..weights import in_memory
from .adapt import Batches, jointly
from .components import Components, packed
from .history import unpacked

ROUNDING = 1.001  # of the farthest that a logit can move
HARD, SOFT = (0.1, -0.1), (2.0, 0.0)
"""Logits of components that start on, and off."""
BOUNDS = {"unit": (0.0, 1.0), "wide": (-0.5, 2.0)}
SOFTMAX = "softmax"
"""What holds coefficients: bounds, or that those of all experts for a tensor are a softmax."""


class Masks:
    """Logits m of all learned components, tensor after tensor.

    Forward b = 1[m > 0], backward that of σ(m/τ) (straight-through); soft masks are σ(m/τ) both ways. They move only
    after `delay` updates. Components of hard masks that can change sides no more are let go: before every update, no
    logit can move farther than `reach` (updates + 1,) times the rate.
    """

    def __init__(
        self,
        parts: Sequence[Components],
        temperature: float,
        *,
        soft: bool = False,
        rate: float = 1e-3,
        delay: int = 0,
        reach: np.ndarray | None = None,
    ) -> None:
        self.parts, self.temperature, self.soft, self.rate, self.delay = parts, temperature, soft, rate, delay
        self.reach, self.updates = reach, 0
        on, off = SOFT if soft else HARD
        started = torch.cat([part.on for part in parts]) if parts else torch.zeros(0, dtype=torch.bool)
        self.logits = torch.nn.Parameter(torch.where(started, on, off))

    @property
    def due(self) -> bool:
        """True when the masks may move."""
        return self.updates >= self.delay

    @property
    def sigma(self) -> Tensor:
        """σ(m/τ) of all components."""
        return (self.logits.detach() / self.temperature).sigmoid()

    def of_parts(self, values: Tensor) -> tuple[Tensor, ...]:
        """Return values of all components tensor by tensor."""
        return values.split([len(part) for part in self.parts])

    def apply(self) -> Sequence[Tensor | None]:
        """Turn components on and off; returns soft masks by tensor, None where masks are 0 or 1."""
        if self.soft:
            return self.of_parts(self.sigma)
        for part, m in zip(self.parts, self.of_parts(self.logits.detach()), strict=True):
            if len(part):
                part.switch(m > 0)
                part.narrow(m.abs() <= self._farthest())
        return [None] * len(self.parts)

    def _farthest(self) -> float:
        """Return how far a logit can still move."""
        if self.reach is None:
            return math.inf
        return ROUNDING * self.rate * float(self.reach[min(self.updates, len(self.reach) - 1)])

    def descend(self, aligned: Sequence[Tensor], used: Sequence[Tensor]) -> None:
        """Set the gradient of m, λ s uᵀ G v σ'(m/τ)/τ, from s uᵀ G v and λ by tensor, once masks may move."""
        if self.due:
            rows = zip(self.parts, aligned, used, strict=True)
            slope = torch.cat([c[part.owner] * a for part, a, c in rows])
            self.logits.grad = slope * self.sigma * (1 - self.sigma) / self.temperature

    def with_soft(self, slopes: list[Tensor], aligned: Sequence[Tensor]) -> list[Tensor]:
        """Return ∂L/∂λ by tensor with the share of soft components, which `Components.kept` lacks."""
        if not self.soft:
            return slopes
        rows = zip(self.parts, slopes, self.of_parts(self.sigma), aligned, strict=True)
        return [slope.index_add(0, part.owner, b * a) for part, slope, b, a in rows]

    def state(self) -> dict[str, np.ndarray]:
        """Return the masks of every matrix as bits, or soft ones in float16, each (T, r)."""
        found: dict[str, np.ndarray] = {}
        for part, m in zip(self.parts, self.of_parts(self.logits.detach()), strict=True):
            if len(part):
                found[f"masks/{part.names[0]}"] = packed(part.spread(m > 0))
            if len(part) and self.soft:
                soft = part.spread((m / self.temperature).sigmoid())
                found[f"soft/{part.names[0]}"] = soft.half().numpy(force=True)
        return found

    def load(self, state: Mapping[str, np.ndarray]) -> None:
        """Set the masks to those of a kept state; logits of hard masks keep only their sign."""
        for part, m in zip(self.parts, self.of_parts(self.logits.data), strict=True):
            if not len(part):
                continue
            name = part.names[0]
            if self.soft:
                soft = torch.from_numpy(state[f"soft/{name}"]).to(m)
                m.copy_(soft[part.owner, part.place].logit() * self.temperature)
            else:
                bits = unpacked(state[f"masks/{name}"], part.start.shape[1])
                m.copy_(torch.where(torch.from_numpy(bits).to(m.device)[part.owner, part.place], *HARD))


class Coefficients:
    """λ (T, N) for N tensors, or (T, 1), perhaps with masks; an `Adaptable`.

    θ_n = θ_0,n + offset_n + Σ_t λ_t,n M_t,n
    """

    def __init__(
        self,
        problem: Problem,
        parts: Sequence[Components],
        start: Tensor,
        *,
        constraint: str = "none",
        learned: bool = True,
        masks: Masks | None = None,
    ) -> None:
        assert problem.inputs is not None
        self.problem, self.parts, self.inputs = problem, parts, problem.inputs
        self.constraint, self.learned, self.masks = constraint, learned, masks
        self.base = in_memory(problem.pretrained, start.device)
        self.values = torch.nn.Parameter(start)
        self.leaves: dict[str, Tensor] = {}

    @property
    def tensors(self) -> tuple[str, ...]:
        """First name of every tensor, in the order of the coefficients."""
        return tuple(part.names[0] for part in self.parts)

    @property
    def ranks(self) -> Mapping[str, int]:
        """Components with masks by matrix."""
        masked = () if self.masks is None else self.masks.parts
        return {part.names[0]: part.start.shape[1] for part in masked if len(part)}

    def parameters(self) -> Sequence[Mapping[str, object]]:
        groups: list[Mapping[str, object]] = [{"params": [self.values]}] if self.learned else []
        return (
            groups
            if self.masks is None
            else [*groups, {"params": [self.masks.logits], "lr": self.masks.rate}]
        )

    def used(self) -> Tensor:
        """Return the coefficients as they are applied, (T, N) or (T, 1)."""
        values = self.values.detach()
        if self.constraint == SOFTMAX:
            return values.softmax(0)
        return values.clamp(*BOUNDS[self.constraint]) if self.constraint in BOUNDS else values

    def begin(self) -> None:
        self.leaves = {n: (self.base[n] + d).requires_grad_() for n, d in self._changes().items()}

    def features(self, batches: Batches) -> Batches:
        weights = {**self.base, **self.leaves}
        return jointly(lambda inputs: self.inputs.features(weights, inputs), batches)

    def finish(self) -> None:
        if not self.parts:
            return
        gradients = [self._gradient(part) for part in self.parts]
        slopes = [part.slopes(g) for part, g in zip(self.parts, gradients, strict=True)]
        if self.masks is not None and (self.masks.soft or self.masks.due):
            aligned = [
                part.alignment(g) if len(part) else part.s
                for part, g in zip(self.parts, gradients, strict=True)
            ]
            self.masks.descend(aligned, self._by_tensor())
            slopes = self.masks.with_soft(slopes, aligned)
        if self.masks is not None:
            self.masks.updates += 1
        if self.learned:
            self._descend(torch.stack(slopes, 1))
        self.leaves = {}

    def state(self) -> Mapping[str, np.ndarray]:
        """Return the coefficients (T, N) or (T, 1) and the masks."""
        masks = {} if self.masks is None else self.masks.state()
        return {"coefficients": self.used().numpy(force=True).copy(), **masks}

    def load(self, state: Mapping[str, np.ndarray]) -> None:
        """Return to a kept state, as far as the merge of it goes."""
        used = torch.from_numpy(state["coefficients"])
        self.values.data.copy_(used.log() if self.constraint == SOFTMAX else used)
        if self.masks is not None:
            self.masks.load(state)

    def merged(self) -> StaticMerged:
        return StaticMerged(self.problem.pretrained, self._changes(), {})

    def _by_tensor(self) -> tuple[Tensor, ...]:
        return self.used().expand(-1, len(self.parts)).unbind(1)

    def _changes(self) -> dict[str, Tensor]:
        """Return Δ by tensor name."""
        soft = [None] * len(self.parts) if self.masks is None else self.masks.apply()
        found: dict[str, Tensor] = {}
        for part, used, b in zip(self.parts, self._by_tensor(), soft, strict=True):
            found |= part.by_name(part.change(used, b))
        return found

    def _gradient(self, part: Components) -> Tensor:
        """Return ∂L/∂Δ of a tensor, zero where predictions do not depend on it."""
        found = [self.leaves[n].grad for n in part.names]
        known = [
            torch.zeros_like(self.leaves[n]) if g is None else g
            for n, g in zip(part.names, found, strict=True)
        ]
        return torch.cat(known) if len(known) > 1 else known[0]

    def _descend(self, gradient: Tensor) -> None:
        if self.values.shape[1] == 1:
            gradient = gradient.sum(1, keepdim=True)
        used, values = self.used(), self.values.detach()
        if self.constraint == SOFTMAX:
            gradient = used * (gradient - (used * gradient).sum(0))
        self.values.grad = gradient * (used == values) if self.constraint in BOUNDS else gradient
