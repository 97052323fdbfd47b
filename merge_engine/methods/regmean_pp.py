"""RegMean++, RegMean on what the merged model itself computes."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from ..contract import Context, Step
from ..hp import hp
from ..problem import Groups, Problem, TensorGroup
from ..weights import AddedWeights, in_memory
from .regmean import BATCH, Grams, RegMean, Sums

Directions = dict[str, Tensor]
"""Merged task vectors by name."""


@dataclass(frozen=True)
class RegMeanPlusPlus(RegMean):
    """Solve RegMean block by block, on inputs that have gone through the blocks merged before.

        W_l = W_0,l + (Σ_t D_t,l G_t,l)(Σ_t G_t,l + ε I)⁻¹,  G_t,l of expert t's block on merged blocks 0 … l − 1

    References
    ----------
    Nguyen, Huu-Tien, Suzuki, Nguyen, RegMean++: Enhancing Effectiveness and Generalization of Regression Mean for
    Model Merging, TMLR 2026, arXiv:2508.03121.

    Notes
    -----
    Embeddings are averaged first. Within a block an expert runs its own layers; the merged block then hands the
    inputs on. Numbers, ridge and averaging of all other tensors as in RegMean, which it equals for one block on
    equal embeddings. Costs two passes over the inputs where RegMean takes one.
    """

    title: ClassVar[str] = "RegMean++"
    family: ClassVar[str] = "Uses inputs"
    idea: ClassVar[str] = "RegMean block by block, each on what the already merged blocks pass on."
    formula: ClassVar[str] = "W = (Σₜ Wₜ Gₜ)(Σₜ Gₜ)⁻¹,  Gₜ = Xₜᵀ Xₜ / N,  Xₜ after the merged blocks before"
    paper: ClassVar[str] = "Nguyen et al., RegMean++, TMLR 2026, arXiv:2508.03121"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"failure": {"examples": 4}}
    lesson: ClassVar[str] = (
        "Four pictures per task say little about which input directions occur: most of its gain over the "
        "average is gone."
    )

    off_diagonal: float = hp(
        0.95, "Factor on the off-diagonal entries of the Gram matrices; not swept, a merge takes minutes.",
        low=0, high=1, step=0.05, symbol="a",
    )  # fmt: skip

    def prepare(self, groups: Groups, problem: Problem, ctx: Context) -> Generator[Step, None, Any]:
        """Merge block after block; memory holds the hidden states of all inputs and one block's Gram matrices."""
        inputs = problem.need_inputs(self.title)
        found = {group.name: group.task_vectors.mean(0) for group in groups}
        merged = in_memory(AddedWeights(problem.pretrained, found), ctx.device)
        hidden = {
            task: [inputs.enter(merged, b) for b in inputs.support(task, self.examples).split(BATCH)]
            for task in problem.tasks
        }
        place, done = problem.architecture.place, 0
        for block in range(groups.depth):
            names, sums = [n for n in found if place(n).block == block], Sums()
            for task, expert in problem.experts.items():
                own, grams = in_memory({n: expert[n] for n in names}, ctx.device), Grams()
                for given in hidden[task]:
                    grams.see(inputs.through(own, block, given)[1])
                sums.add(grams, self.off_diagonal, own, problem.pretrained)
                done += 1
                yield Step(done, groups.depth * len(problem.tasks), f"inputs of block {block} for {task}")
            found |= {n: sums.solved(n, self.ridge) for n in sums.weighted}
            merged |= {n: problem.pretrained[n].to(found[n]) + found[n] for n in sums.weighted}
            hidden = {
                t: [inputs.through(merged, block, given)[0] for given in seen] for t, seen in hidden.items()
            }
        return found

    def merge(self, group: TensorGroup, ctx: Context, state: Directions) -> Tensor:
        return state[group.name]
