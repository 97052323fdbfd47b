"""RegMean, least squares on the inputs of every linear layer."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from ..contract import Context, Groups, Inputs, Problem, Step, TensorGroup, TensorMerge
from ..errors import DataError
from ..hp import hp
from ..weights import Weights, in_memory

BATCH = 32


@dataclass
class Sums:
    """Σ_t G_t, one for all layers that share an input, and Σ_t D_t G_t by weight name."""

    source: dict[str, str] = field(default_factory=dict)
    grams: dict[str, Tensor] = field(default_factory=dict)
    weighted: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class RegMean(TensorMerge):
    """Choose the matrix whose outputs are nearest to every expert's, on that expert's inputs.

        G_t = X_tᵀ X_t / N, off-diagonal entries times a;  W = W_0 + (Σ_t D_t G_t)(Σ_t G_t + ε I)⁻¹

    References
    ----------
    Jin, Ren, Preotiuc-Pietro, Cheng, Dataless Knowledge Fusion by Merging Weights of Language Models, ICLR 2023,
    arXiv:2212.09849.

    Notes
    -----
    X_t are the inputs of the layer in expert t, on its own task. Solved for the task vector, so that directions no
    input uses keep the pretrained weights; ε is `ridge` times the mean diagonal of Σ_t G_t. Biases and every other
    tensor are averaged. a is 0.95 for CLIP, 0.6 for GPT-2 and 0.1 in general.
    """

    title: ClassVar[str] = "RegMean"
    family: ClassVar[str] = "Uses inputs"
    idea: ClassVar[str] = "Match every expert's layer outputs in least squares, on a few inputs of its task."
    formula: ClassVar[str] = "W = (Σₜ Wₜ Gₜ)(Σₜ Gₜ)⁻¹,  Gₜ = Xₜᵀ Xₜ / N"
    paper: ClassVar[str] = "Jin et al., Dataless Knowledge Fusion, ICLR 2023, arXiv:2212.09849"
    needs: ClassVar[frozenset[str]] = frozenset({"support"})

    examples: int = hp(
        256, "Unlabelled inputs of every task.", low=1, high=4096, soft=(32, 512), step=32, symbol="N"
    )
    off_diagonal: float = hp(0.95, "Factor on the off-diagonal entries of the Gram matrices.", low=0, high=1,
                             step=0.05, symbol="a", sweep=(0.1, 0.6, 0.95))  # fmt: skip
    ridge: float = hp(
        1e-6, "Ridge, relative to the mean diagonal of the summed Gram matrices.", low=1e-10, high=1
    )

    def prepare(self, groups: Groups, problem: Problem, ctx: Context) -> Generator[Step, None, Sums]:
        """Run every expert on its own inputs; memory holds the Gram matrices of one expert at a time."""
        inputs, sums = problem.need_inputs(self.title), Sums()
        for index, (task, expert) in enumerate(problem.experts.items()):
            weights = in_memory(expert, ctx.device)
            batches = inputs.support(task, self.examples).to(ctx.device).split(BATCH)
            grams: dict[str, Tensor] = {}
            rows: dict[str, int] = {}
            for done, batch in enumerate(batches, 1):
                _collect(inputs, weights, batch, sums.source, grams, rows)
                total = len(batches) * len(problem.tasks)
                yield Step(index * len(batches) + done, total, f"inputs of {task}")
            means = {name: self._shrunk(gram / rows[name]) for name, gram in grams.items()}
            _add(sums.grams, means)
            change = {n: weights[n] - problem.pretrained[n].to(weights[n]) for n in sums.source}
            _add(sums.weighted, {n: change[n] @ means[owner] for n, owner in sums.source.items()})
        return sums

    def merge(self, group: TensorGroup, ctx: Context, state: Sums) -> Tensor:
        if group.name not in state.weighted:
            return group.task_vectors.mean(0)
        gram = state.grams[state.source[group.name]]
        return solve(state.weighted[group.name], gram, self.ridge, group.name)

    def _shrunk(self, gram: Tensor) -> Tensor:
        return self.off_diagonal * gram + (1 - self.off_diagonal) * gram.diag().diag()


def solve(weighted: Tensor, gram: Tensor, ridge: float, name: str) -> Tensor:
    """Return weighted · (gram + ε I)⁻¹, ε = ridge times the mean diagonal; a larger one if that is not definite."""
    gram = gram.double()
    identity = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    epsilon = ridge * gram.trace().clamp_min(1e-30) / len(gram)
    for _ in range(8):
        factor, failed = torch.linalg.cholesky_ex(gram + epsilon * identity)
        if not failed:
            return torch.cholesky_solve(weighted.double().T, factor).T.float()
        epsilon = 10 * epsilon  # sums in float32 may lose definiteness by more than a small ridge
    raise DataError(f"The inputs of {name} are not finite; check the experts' weights.")


def _collect(
    inputs: Inputs, weights: Weights, batch: Tensor, source: dict[str, str], grams: dict, rows: dict
) -> None:
    """Add Xᵀ X of a batch for every distinct layer input; q, k and v see the same tensor."""
    seen = inputs.linear_inputs(weights, batch)
    if not source:
        owner: dict[tuple[int, torch.Size], str] = {}
        source.update({n: owner.setdefault((x.data_ptr(), x.shape), n) for n, x in seen.items()})
    for name in set(source.values()):
        x = seen[name].detach().float()
        grams[name] = grams.get(name, 0) + x.T @ x
        rows[name] = rows.get(name, 0) + len(x)


def _add(into: dict[str, Tensor], more: dict[str, Tensor]) -> None:
    for name, value in more.items():
        into[name] = into[name] + value if name in into else value
