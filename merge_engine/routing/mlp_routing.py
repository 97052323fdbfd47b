"""Merges whose MLPs are blended for every input by learned routers; everything else is one model for all inputs.

    MLP_l(x) = θ_0 + Σ_t w_lt(x) τ_t,   all other tensors θ_0 + λ Σ_t τ_t

Only routers learn, by entropy on unlabelled inputs (Tang et al., WEMoE, ICML 2024, arXiv:2402.00433).
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ..adapting import adaptive
from ..adapting.adapt import Batches, Settings, jointly, tasks_by_pass
from ..contract import Context, Kind, Step
from ..hp import hp
from ..maths.parts import LowRankPart, Part
from ..maths.svd import Factors
from ..pausing import Pausing, decomposed, made_steps
from ..problem import Inputs, Problem, TensorGroup
from ..weights import Weights, in_memory
from .mlp_routers import MlpWeighting, Router
from .per_input import Share, blended, shares_of
from .routed import BlendedMerged, leaks


@dataclass(frozen=True)
class MlpRoutedMerge(adaptive.AdaptiveMerge):
    """A method that merges everything but the MLPs by Task Arithmetic and blends the MLPs by routers.

    Write `part`, what is kept of every expert for one MLP tensor.
    """

    kind: ClassVar[Kind] = "routed"
    family: ClassVar[str] = "Routed"
    leaves: ClassVar[tuple[str, ...]] = ("weight", "bias")
    one_router: ClassVar[bool] = False

    prior: float = hp(
        0.3, "Scaling coefficient outside the MLPs, and where the routing weights start.", low=-10, high=10,
        soft=(0, 1), step=0.05, symbol="λ",
    )  # fmt: skip
    depth: int = hp(
        2, "Layers of a router; 0 gives all inputs the same weights.", low=0, high=2, soft=(0, 2), step=1, symbol="L"
    )
    routing: str = hp(
        "input",
        "Weights of every input, or their mean over a batch (leaks the task).",
        choices={
            "input": "every input has weights of its own; FusionBench takes their mean over a batch",
            "batch": "all inputs of a batch take its mean weights, as in FusionBench: it leaks the task",
        },
        always=True,
    )
    steps: int = adaptive.steps(1000)
    batch: int = adaptive.batch(16)
    learning_rate: float = adaptive.learning_rate(1e-4)
    schedule: str = adaptive.schedule(disputed=", as in FusionBench; the authors' code lets it fall by a cosine")
    balanced: bool = adaptive.balanced()

    @abc.abstractmethod
    def part(self, group: TensorGroup, ctx: Context) -> Part | Pausing[Part]:
        """Return what is kept of all experts' task vectors of one MLP tensor; may pause where that takes long."""

    def shares(self, parts: Mapping[str, Part], layers: Mapping[str, nn.Module]) -> Mapping[str, Share]:
        """Return the experts' shares of the MLP layers, by path."""
        return shares_of(parts, layers)[0]

    def router(self, layer: nn.Linear, tasks: Sequence[str], draw: Callable[..., torch.Generator]) -> Router:
        """Return a router that reads what the first layer of an MLP reads."""
        return Router.start(layer.in_features, tasks, self.prior, self.depth, draw)

    def weighting(self, blocks: Mapping[str, int], routers: Mapping[int, Router]) -> MlpWeighting:
        """Return how the routers give the weights of the MLP layers, `blocks` by path."""
        return MlpWeighting(blocks, routers, self.routing)

    def remarks(self, tasks: tuple[str, ...]) -> list[str]:
        return [leaks("Batch-mean routing")] if self.routing == "batch" else []

    def settings(self) -> Settings:
        return Settings(self.steps, self.batch, self.learning_rate, self.schedule, self.balanced)

    def adaptable(self, problem: Problem, ctx: Context) -> Generator[Step, None, RoutedMlps]:
        inputs = problem.need_inputs(self.title)
        layers, blocks = inputs.layers(), mlp_blocks(problem, inputs)
        routed = {f"{path}.{leaf}" for path in blocks for leaf in self.leaves}
        shared, parts = yield from split_steps(problem, ctx, routed, self.prior, self.part)
        weighting = self.weighting(blocks, self._routers(problem, layers, blocks, ctx))
        made = RoutedMlps(inputs, problem.tasks, shared, self.shares(parts, layers), weighting)
        passes = tasks_by_pass(problem.tasks, self.batch)
        for done, some in enumerate(passes, 1):
            made.route({task: next(inputs.stream(task, self.batch)) for task in some})
            yield Step(done, len(passes), f"first routes of {', '.join(some)}")
        return made

    def _routers(
        self, problem: Problem, layers: Mapping[str, nn.Module], blocks: Mapping[str, int], ctx: Context
    ) -> dict[int, Router]:
        made: dict[int, Router] = {}
        for block, path in sorted(first_layers(blocks).items()):
            if self.one_router and made:
                made[block] = next(iter(made.values()))
                continue
            layer = layers[path]
            assert isinstance(layer, nn.Linear)
            key = ("router",) if self.one_router else ("router", str(block))
            made[block] = self.router(layer, problem.tasks, _draw(ctx, key)).to(ctx.device)
        return made


def mlp_blocks(problem: Problem, inputs: Inputs) -> dict[str, int]:
    """Return the linear layers of the MLPs by path, with their blocks, in order of execution."""
    found = {}
    for path, layer in inputs.layers().items():
        place = problem.architecture.place(f"{path}.weight")
        if isinstance(layer, nn.Linear) and place.block is not None and place.kind in ("fc1", "fc2"):
            found[path] = place.block
    return found


def first_layers(blocks: Mapping[str, int]) -> dict[int, str]:
    """Return the path of the first MLP layer of every block."""
    return {block: path for path, block in reversed([*blocks.items()])}


def _draw(ctx: Context, key: tuple[str, ...]) -> Callable[..., torch.Generator]:
    return lambda *more: ctx.generator(*key, *more)


def split_steps(
    problem: Problem,
    ctx: Context,
    routed: Iterable[str],
    prior: float,
    part: Callable[[TensorGroup, Context], Part | Pausing[Part]],
) -> Generator[Step, None, tuple[dict[str, Tensor], dict[str, Part]]]:
    """Return every tensor as all inputs share it, and the parts of the tensors named `routed`.

    Routed tensors stay pretrained, the others are merged by Task Arithmetic; yields a Step per tensor group.
    """
    names, groups = frozenset(routed), problem.groups(device=ctx.device)
    shared = in_memory(problem.pretrained, ctx.device)
    parts: dict[str, Part] = {}
    for done, group in enumerate(groups, 1):
        if group.name in names:
            moment = Step(done - 1, len(groups), group.name)
            shared[group.name] = group.pretrained
            parts[group.name] = yield from made_steps(partial(part, group, ctx), moment)
        else:
            shared[group.name] = group.pretrained + prior * group.task_vectors.sum(0)
        yield Step(done, len(groups), group.name)
    return shared, parts


def leading(group: TensorGroup, k: int, ctx: Context) -> Pausing[LowRankPart]:
    """Return the k leading singular components of every expert's task matrix, without holding on to the others."""
    found = yield from decomposed(ctx.svd, group.task_vectors)
    return LowRankPart(tuple(Factors(*(f.clone() for f in factors.top(k))) for factors in found))


class RoutedMlps:
    """The routers while they learn; nothing else does.

    `state` tells the mean routing weight by task of the batch, block and expert, as the latest batches were routed.
    """

    def __init__(
        self,
        inputs: Inputs,
        tasks: tuple[str, ...],
        shared: Weights,
        shares: Mapping[str, Share],
        weighting: MlpWeighting,
    ) -> None:
        self.inputs, self.tasks, self.shared, self.shares = inputs, tasks, shared, shares
        self.weighting = weighting
        self.ready = {path: share.to(torch.float32, inputs.device) for path, share in shares.items()}
        firsts = first_layers(weighting.blocks).values()
        self.firsts = [place for place, path in enumerate(shares) if path in firsts]
        self.routes: dict[str, np.ndarray] = {}

    def parameters(self) -> Sequence[Mapping[str, object]]:
        return [{"params": self.weighting.parameters()}]

    def begin(self) -> None:
        """Do nothing: no weights are built."""

    def features(self, batches: Batches) -> Batches:
        """Return features of inputs; where a batch is routed as a whole, every task's alone."""
        if self.weighting.routing == "batch" and len(batches) > 1:
            return {task: self.features({task: batch})[task] for task, batch in batches.items()}
        return jointly(lambda inputs: self._pass(inputs, batches), batches)

    def _pass(self, inputs: Tensor, batches: Batches) -> Tensor:
        """Return features (B, D) of all batches together, and remember how each was routed."""
        decision = self.weighting.ready(self.inputs)(inputs)
        features, used = blended(self.inputs, self.shared, self.ready, decision, inputs)
        by_expert = used[:, self.firsts].unflatten(-1, (len(self.tasks), -1)).mean(-1)
        for task, part in zip(batches, by_expert.split([len(b) for b in batches.values()]), strict=True):
            self.routes[task] = part.mean(0).numpy(force=True)
        return features

    def finish(self) -> None:
        """Do nothing: gradients reach the routers by themselves."""

    @torch.no_grad()
    def route(self, batches: Batches) -> None:
        """Note how some batches are routed."""
        self.features(batches)

    def state(self) -> Mapping[str, np.ndarray]:
        return {"routes": np.stack([self.routes[task] for task in self.tasks])}

    def merged(self) -> BlendedMerged:
        return BlendedMerged(self.shared, self.tasks, self.shares, self.weighting.frozen())
