"""RegMean, least squares on the inputs of every linear layer."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..contract import Context, Step
from ..errors import DataError
from ..hp import hp
from ..pausing import Pausing, made_steps
from ..problem import Groups, Problem, TensorGroup
from ..tensorwise import TensorMerge
from ..weights import Weights, in_memory

BATCH = 32


@dataclass
class Grams:
    """Σ Xᵀ X over an expert's inputs and their number of rows, one for all layers that share an input (`source`)."""

    source: dict[str, str] = field(default_factory=dict)
    sums: dict[str, Tensor] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)

    def see(self, inputs: Mapping[str, Tensor]) -> None:
        """Add a batch of layer inputs (rows, n) by weight name; q, k and v see the same tensor."""
        if not self.source:
            owner: dict[tuple[int, torch.Size], str] = {}
            self.source = {n: owner.setdefault((x.data_ptr(), x.shape), n) for n, x in inputs.items()}
        for name in set(self.source.values()):
            x = inputs[name].detach().float()
            self.sums[name] = self.sums.get(name, 0) + x.T @ x
            self.rows[name] = self.rows.get(name, 0) + len(x)

    def means(self, off_diagonal: float) -> dict[str, Tensor]:
        """Return Xᵀ X / N with off-diagonal entries times a number."""
        found = {name: total / self.rows[name] for name, total in self.sums.items()}
        return {n: off_diagonal * gram + (1 - off_diagonal) * gram.diag().diag() for n, gram in found.items()}


@dataclass
class Sums:
    """Σ_t G_t, one for all layers that share an input, and Σ_t D_t G_t by weight name."""

    source: dict[str, str] = field(default_factory=dict)
    grams: dict[str, Tensor] = field(default_factory=dict)
    weighted: dict[str, Tensor] = field(default_factory=dict)

    def add(self, grams: Grams, off_diagonal: float, expert: Weights, pretrained: Weights) -> Pausing[None]:
        """Add one expert, pausing after every layer."""
        means = grams.means(off_diagonal)
        self.source.update(grams.source)
        _add(self.grams, means)
        for name, owner in grams.source.items():
            change = expert[name] - pretrained[name].to(expert[name])
            _add(self.weighted, {name: change @ means[owner]})
            yield

    def solved(self, name: str, ridge: float) -> Tensor:
        """Return the merged task vector of a linear layer."""
        return solve(self.weighted[name], self.grams[self.source[name]], ridge, name)


@dataclass(frozen=True)
class RegMean(TensorMerge):
    """Choose the matrix whose outputs are nearest to every expert's, on that expert's inputs.

        G_t = X_tᵀ X_t / N, off-diagonal entries times α;  W = W_0 + (Σ_t D_t G_t)(Σ_t G_t + ε I)⁻¹

    References
    ----------
    Jin, Ren, Preotiuc-Pietro, Cheng, Dataless Knowledge Fusion by Merging Weights of Language Models, ICLR 2023,
    arXiv:2212.09849.

    Notes
    -----
    X_t are the inputs of the layer in expert t, on its own task. Solved for the task vector, so that directions no
    input uses keep the pretrained weights; ε is `ridge` times the mean diagonal of Σ_t G_t. Biases and every other
    tensor are averaged. α is 0.95 for CLIP, 0.6 for GPT-2 and 0.1 in general.
    """

    title: ClassVar[str] = "RegMean"
    family: ClassVar[str] = "Uses inputs"
    idea: ClassVar[str] = "Match every expert's layer outputs in least squares, on a few inputs of its task."
    formula: ClassVar[str] = "W = W₀ + (Σₜ Dₜ Gₜ)(Σₜ Gₜ + ε m I)⁻¹\nGₜ = mean of Xₜᵀ Xₜ,  off its diagonal times α"
    where: ClassVar[str] = "Xₜ is what the layer receives in expert t on N inputs of its task; m is the mean diagonal"
    paper: ClassVar[str] = "Jin et al., Dataless Knowledge Fusion, ICLR 2023, arXiv:2212.09849"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"failure": {"off_diagonal": 0.0}}
    lesson: ClassVar[str] = (
        "Correlations between input features are forgotten, and with them nearly all of its gain over the "
        "plain average."
    )
    needs: ClassVar[frozenset[str]] = frozenset({"support"})

    examples: int = hp(
        256, "Unlabelled inputs of every task.", low=1, high=4096, soft=(32, 512), step=32, symbol="N"
    )
    off_diagonal: float = hp(0.95, "Factor on the off-diagonal entries of the Gram matrices.", low=0, high=1,
                             step=0.05, symbol="α", sweep=(0.1, 0.6, 0.95))  # fmt: skip
    ridge: float = hp(
        1e-6, "Ridge, relative to the mean diagonal of the summed Gram matrices.", low=1e-10, high=1, symbol="ε"
    )

    def prepare(self, groups: Groups, problem: Problem, ctx: Context) -> Generator[Step, None, Sums]:
        """Run every expert on its own inputs; memory holds the Gram matrices of one expert at a time."""
        inputs, sums = problem.need_inputs(self.title), Sums()
        for index, (task, expert) in enumerate(problem.experts.items()):
            weights = in_memory(expert, ctx.device)
            batches = inputs.support(task, self.examples).split(BATCH)
            grams, total = Grams(), len(batches) * len(problem.tasks)
            add = partial(sums.add, grams, self.off_diagonal, weights, problem.pretrained)
            for done, batch in enumerate(batches, index * len(batches)):
                moment = Step(done, total, f"inputs of {task}")
                yield moment
                grams.see(inputs.linear_inputs(weights, batch))
                if batch is batches[-1]:
                    yield moment
                    yield from made_steps(add, moment)
            yield Step((index + 1) * len(batches), total, f"inputs of {task}")
        return sums

    def merge(self, group: TensorGroup, ctx: Context, state: Sums) -> Tensor:
        if group.name not in state.weighted:
            return group.task_vectors.mean(0)
        return state.solved(group.name, self.ridge)


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


def _add(into: dict[str, Tensor], more: dict[str, Tensor]) -> None:
    for name, value in more.items():
        into[name] = into[name] + value if name in into else value
