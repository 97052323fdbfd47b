"""Small adapters behind a merged encoder, one per task, that bring its features closer to the expert's.

    z' = z − U ReLU(D z),   D (r, d), U (d, r);   loss = Σ_t mean |z'_t − z_t,expert|

(Yang et al., Representation Surgery for Multi-Task Model Merging, ICML 2024, arXiv:2402.02705.)
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ..contract import Context, Step
from ..errors import RecipeError
from ..merged import Merged, StaticMerged
from ..problem import Inputs, Problem
from ..routing.prediction import Network, Prediction, Predictor
from ..weights import Weights, in_memory
from .adapt import Settings, entropy
from .history import History

BATCH = 64


@dataclass(frozen=True)
class Adapters:
    """The adapters of T tasks side by side: `down` (T, r, d) and `up` (T, d, r)."""

    down: Tensor
    up: Tensor

    @classmethod
    def start(cls, width: int, rank: int, tasks: Sequence[str], ctx: Context) -> Adapters:
        """Return adapters that change nothing yet: U is zero, D uniform within ±1/√d, drawn by the task's name."""
        draws = [torch.rand(rank, width, generator=ctx.generator("surgery", task)) for task in tasks]
        down = (2 * torch.stack(draws) - 1) * width**-0.5
        return cls(down.to(ctx.device), torch.zeros(len(tasks), width, rank, device=ctx.device))

    def __call__(self, features: Tensor) -> Tensor:
        """Return the features of every task's inputs (T, B, d) after its adapter."""
        inner = (features @ self.down.to(features).mT).relu()
        return features - inner @ self.up.to(features).mT

    def of(self, index: int) -> Adapters:
        """Return the adapter of one task."""
        return Adapters(self.down[index : index + 1], self.up[index : index + 1])

    def frozen(self) -> Adapters:
        """Return a copy that learns no more."""
        return Adapters(self.down.detach().clone(), self.up.detach().clone())


@dataclass(frozen=True)
class SurgeryMerged(Merged):
    """One merged encoder, and an adapter of its features for every task; told the task of every input."""

    base: StaticMerged
    tasks: tuple[str, ...]
    adapters: Adapters
    notes: tuple[str, ...] = ()
    history: History | None = None

    @property
    def knows_task(self) -> bool:
        return True

    def weights(self, task: str | None = None) -> Weights:
        """Raise RecipeError: weights of the encoder alone would leave the adapters out."""
        raise RecipeError(
            "This merge corrects features after the encoder, which no weights of the encoder can hold; score it, or "
            "use the merge it starts from."
        )

    @property
    def stored_parameters(self) -> float:
        return self.base.stored_parameters + self.adapters.down.numel() + self.adapters.up.numel()

    def predictor(self, network: Network, dtype: torch.dtype = torch.float32) -> Predictor:
        """Return a predictor that runs the encoder and the adapter of the asked task."""
        encode = self.base.predictor(network, dtype)

        def predict(inputs: Tensor, task: str | None = None) -> Prediction:
            if task not in self.tasks:
                raise RecipeError(
                    f"This merge has an adapter per task and none for '{task}'; known: {', '.join(self.tasks)}."
                )
            features = encode(inputs).features
            return Prediction(self.adapters.of(self.tasks.index(task))(features[None])[0])

        return predict


@dataclass(frozen=True)
class Pool:
    """Features of some inputs of one task (N, d) under the merged encoder and under the task's expert."""

    merged: Tensor
    expert: Tensor


def pool_steps(
    problem: Problem, inputs: Inputs, base: StaticMerged, examples: int, device: torch.device
) -> Generator[Step, None, dict[str, Pool]]:
    """Return the pools of all tasks on a device, taken from the stream once; yields a Step per task."""
    encoder, pools = in_memory(base.weights(), device), {}
    for done, (task, expert) in enumerate(problem.experts.items(), 1):
        taken = next(inputs.stream(task, examples))
        own = in_memory(expert, device)
        pools[task] = Pool(_features(inputs, encoder, taken), _features(inputs, own, taken))
        yield Step(done, len(problem.tasks), f"features of {task}")
    return pools


def _features(inputs: Inputs, weights: Weights, taken: Tensor) -> Tensor:
    with torch.no_grad():
        return torch.cat([inputs.features(weights, batch) for batch in taken.split(BATCH)])


def surgery_steps(
    inputs: Inputs, base: StaticMerged, pools: Mapping[str, Pool], rank: int, settings: Settings, ctx: Context
) -> Generator[Step, None, SurgeryMerged]:
    """Fit the adapters, yielding a Step with a snapshot at the start, and with the mean distance after every update."""
    tasks = tuple(pools)
    adapters = Adapters.start(next(iter(pools.values())).merged.shape[1], rank, tasks, ctx)
    optimiser = torch.optim.Adam(
        [adapters.down.requires_grad_(), adapters.up.requires_grad_()], lr=settings.learning_rate
    )
    draws = {task: ctx.generator("surgery rows", task) for task in tasks}
    history, start = History(tasks), time.perf_counter()
    standing = partial(_standing, base, tasks, adapters)
    yield Step(0, settings.steps, "start", snapshot=standing)
    for step in range(1, settings.steps + 1):
        merged, expert = _batch(pools, draws, settings.batch)
        with torch.enable_grad():
            changed = adapters(merged)
            distance = (changed - expert).abs().mean((1, 2))
            distance.sum().backward()
        far = distance.numpy(force=True)
        if step == 1:
            history.keep(0, settings.steps, lambda far=far: {"distance": far})
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        seen = [
            entropy(inputs.logits(t, z)).mean().item() for t, z in zip(tasks, changed.detach(), strict=True)
        ]
        history.entropy.append(seen)
        history.seconds.append(time.perf_counter() - start)
        history.keep(step, settings.steps, lambda far=far: {"distance": far})
        live = {"distance": float(far.mean()), "entropy": sum(seen) / len(seen)}
        yield Step(step, settings.steps, f"step {step}", live, standing)
    return dataclasses.replace(_standing(base, tasks, adapters), history=history)


def _standing(base: StaticMerged, tasks: tuple[str, ...], adapters: Adapters) -> SurgeryMerged:
    return SurgeryMerged(base, tasks, adapters.frozen())


def _batch(
    pools: Mapping[str, Pool], draws: Mapping[str, torch.Generator], size: int
) -> tuple[Tensor, Tensor]:
    """Return features (T, size, d) of the merge and of the experts for inputs drawn of every task."""
    rows = {t: torch.randint(len(pool.merged), (size,), generator=draws[t]) for t, pool in pools.items()}
    merged = torch.stack([pools[t].merged[r] for t, r in rows.items()])
    return merged, torch.stack([pools[t].expert[r] for t, r in rows.items()])
