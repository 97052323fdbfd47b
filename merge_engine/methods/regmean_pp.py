"""RegMean++, RegMean on what the merged model itself computes."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from torch import Tensor

from ..contract import Context, Step
from ..hp import hp
from ..pausing import Pausing, made_steps
from ..problem import Groups, Problem, TensorGroup
from ..weights import AddedWeights, Weights, in_memory
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
    formula: ClassVar[str] = RegMean.formula
    where: ClassVar[str] = (
        "Xₜ is what the layer receives in expert t's own block, behind the blocks merged before, on N inputs of its "
        "task; m is the mean diagonal"
    )
    paper: ClassVar[str] = "Nguyen et al., RegMean++, TMLR 2026, arXiv:2508.03121"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"failure": {"examples": 4}}
    lesson: ClassVar[str] = (
        "Four pictures per task say little about which input directions occur: most of its gain over the "
        "average is gone."
    )

    off_diagonal: float = hp(
        0.95, "Factor on the off-diagonal entries of the Gram matrices; not swept, a merge takes minutes.",
        low=0, high=1, step=0.05, symbol="α",
    )  # fmt: skip

    def prepare(self, groups: Groups, problem: Problem, ctx: Context) -> Generator[Step, None, Any]:
        """Merge block after block; memory holds the hidden states of all inputs and one block's Gram matrices."""
        inputs, found = problem.need_inputs(self.title), {}
        for done, group in enumerate(groups, 1):
            found[group.name] = group.task_vectors.mean(0)
            yield Step(done, len(groups), f"average of {group.name}")
        merged, hidden = in_memory(AddedWeights(problem.pretrained, found), ctx.device), {}
        for done, task in enumerate(problem.tasks, 1):
            batches = inputs.support(task, self.examples).split(BATCH)
            hidden[task] = [inputs.enter(merged, batch) for batch in batches]
            yield Step(done, len(problem.tasks), f"inputs of {task}")
        place, done, total = problem.architecture.place, 0, groups.depth * (len(problem.tasks) + 1)
        for block in range(groups.depth):
            names, sums = [n for n in found if place(n).block == block], Sums()
            for task, expert in problem.experts.items():
                own, label = in_memory({n: expert[n] for n in names}, ctx.device), f"inputs of block {block} for {task}"
                reads = (inputs.through(own, block, given)[1] for given in hidden[task])
                yield from made_steps(partial(self._added, sums, reads, own, problem), Step(done, total, label))
                done += 1
                yield Step(done, total, label)
            moment = Step(done, total, f"block {block}")
            found |= yield from made_steps(partial(self._solved, sums), moment)
            merged |= {n: problem.pretrained[n].to(found[n]) + found[n] for n in sums.weighted}
            for task, seen in hidden.items():
                yield moment
                hidden[task] = [inputs.through(merged, block, given)[0] for given in seen]
            done += 1
            yield Step(done, total, f"block {block}")
        return found

    def _added(
        self, sums: Sums, reads: Iterable[Mapping[str, Tensor]], expert: Weights, problem: Problem
    ) -> Pausing[None]:
        """Add what one expert's block reads in every batch."""
        grams = Grams()
        for read in reads:
            grams.see(read)
            yield
        yield from sums.add(grams, self.off_diagonal, expert, problem.pretrained)

    def _solved(self, sums: Sums) -> Pausing[Directions]:
        """Return the merged task vectors of a block's layers."""
        found = {}
        for name in sums.weighted:
            found[name] = sums.solved(name, self.ridge)
            yield
        return found

    def merge(self, group: TensorGroup, ctx: Context, state: Directions) -> Tensor:
        return state[group.name]
