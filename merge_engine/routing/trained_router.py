"""Training a router to tell tasks apart: an MLP on features of one model, as Twin-Merging has it.

    R(z) = W_3 h(BN(W_2 h(BN(W_1 z)))),  d → 2d → 2d → T,  h = dropout of LeakyReLU

Trained on inputs whose task is known, never on class labels (Lu et al., Twin-Merging, NeurIPS 2024, arXiv:2406.15479).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, leaky_relu

from ..contract import Step
from ..problem import Inputs
from ..weights import Weights, in_memory
from .prediction import Network

CHUNK = 64


@dataclass(frozen=True)
class Course:
    """How to train: the published course by default.

    AdamW without weight decay from `learning_rate` linearly to zero, gradients clipped to norm 1, `batch` inputs
    per update; the epoch with the highest accuracy on the inputs to pick by is kept, the first one among equals.
    """

    examples: int = 5500
    pick_examples: int = 1000
    epochs: int = 50
    batch: int = 1024
    learning_rate: float = 5e-4


@dataclass(frozen=True)
class TrainedRouter:
    """A trained router, the model whose features it reads, and how its training went.

    `reads` is the key of that model's merge. `accuracy` is the route accuracy in percent after every epoch on the
    inputs to pick by, `epoch` the one kept.
    """

    model: Weights
    reads: str
    parameters: Mapping[str, Tensor]
    accuracy: tuple[float, ...] = ()
    epoch: int = 0
    forwards: float = 1.0

    def ready(self, network: Network) -> Callable[..., Tensor]:
        """Return the scores (B, T) of inputs, with the model in memory."""
        model = in_memory(self.model, network.device)
        layers = layers_of(in_memory(self.parameters, network.device))
        return lambda inputs, task=None: layers(network.features(model, inputs))

    @property
    def stored_parameters(self) -> float:
        return float(sum(v.numel() for v in self.parameters.values()))


class Layers(nn.Module):
    """The network of a router, d → 2d → 2d → T; dropout only where a generator is given."""

    def __init__(self, width: int, tasks: int) -> None:
        super().__init__()
        self.first, self.first_norm = nn.Linear(width, 2 * width), nn.BatchNorm1d(2 * width)
        self.second, self.second_norm = nn.Linear(2 * width, 2 * width), nn.BatchNorm1d(2 * width)
        self.last = nn.Linear(2 * width, tasks)

    def forward(self, features: Tensor, dropout: torch.Generator | None = None) -> Tensor:
        """Return one score per task, (B, d) to (B, T)."""
        hidden = _dropped(leaky_relu(self.first_norm(self.first(features))), dropout)
        return self.last(_dropped(leaky_relu(self.second_norm(self.second(hidden))), dropout))

    def draw(self, generator: torch.Generator) -> None:
        """Draw the initial parameters of the linear layers, uniform within ±1/√n for n inputs."""
        for layer in (self.first, self.second, self.last):
            for parameter in (layer.weight, layer.bias):
                nn.init.uniform_(parameter, -(layer.in_features**-0.5), layer.in_features**-0.5, generator)

    def kept(self) -> dict[str, Tensor]:
        """Return a copy of all parameters and running statistics."""
        state = {name: value for name, value in self.state_dict().items() if value.is_floating_point()}
        return {name: value.detach().clone() for name, value in state.items()}


def layers_of(parameters: Mapping[str, Tensor]) -> Layers:
    """Return a trained network, ready to score."""
    tasks, width = len(parameters["last.bias"]), parameters["first.weight"].shape[1]
    with torch.device("meta"):
        layers = Layers(width, tasks)
    layers.load_state_dict(dict(parameters), strict=False, assign=True)
    for norm in (layers.first_norm, layers.second_norm):
        norm.num_batches_tracked = None
    return layers.eval().requires_grad_(False)


class Training:
    """A router in training on features of a model, that of the merge `reads`.

    `steps` trains it; `router` is the best so far, at any moment.
    """

    def __init__(
        self, model: Weights, reads: str, tasks: Sequence[str], course: Course, generator: torch.Generator
    ) -> None:
        self.model, self.reads, self.tasks = model, reads, tuple(tasks)
        self.course, self.generator = course, generator
        self.accuracy: list[float] = []
        self.best, self.epoch = {}, 0

    def steps(self, inputs: Inputs, pick: Callable[[str, int], Tensor]) -> Generator[Step, None, None]:
        """Read features, then train, yielding a Step after every batch of features and every epoch.

        `pick` returns the inputs of a task by which the epoch is chosen.
        """
        train = yield from self._features(inputs, inputs.train, self.course.examples, "train")
        held = yield from self._features(inputs, pick, self.course.pick_examples, "held out")
        yield from self._train(train, held)

    def router(self) -> TrainedRouter:
        """Return the router of the best epoch so far, its scores in the order of the tasks."""
        order = [sorted(self.tasks).index(task) for task in self.tasks]
        parameters = {n: v[order] if n.startswith("last.") else v for n, v in self.best.items()}
        return TrainedRouter(self.model, self.reads, parameters, tuple(self.accuracy), self.epoch)

    def _features(
        self, inputs: Inputs, take: Callable[[str, int], Tensor], count: int, which: str
    ) -> Generator[Step, None, tuple[Tensor, Tensor]]:
        """Return features (N, d) and the number of the task (N,), tasks sorted so that their order changes nothing."""
        features, labels = [], []
        for label, task in enumerate(sorted(self.tasks)):
            chunks = take(task, count).split(CHUNK)
            for done, chunk in enumerate(chunks, 1):
                with torch.no_grad():
                    features.append(inputs.features(self.model, chunk))
                labels.append(torch.full((len(chunk),), label, device=features[-1].device))
                yield Step(done, len(chunks), f"Features of the shared model: {task}, {which}")
        return torch.cat(features), torch.cat(labels)

    def _train(
        self, train: tuple[Tensor, Tensor], held: tuple[Tensor, Tensor]
    ) -> Generator[Step, None, None]:
        layers = Layers(train[0].shape[1], len(self.tasks))
        layers.draw(self.generator)
        layers.to(train[0].device)
        batches = -(-len(train[1]) // self.course.batch)
        optimiser = torch.optim.AdamW(layers.parameters(), lr=self.course.learning_rate, weight_decay=0.0)
        total = batches * self.course.epochs
        falling = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1 - step / total)
        for epoch in range(1, self.course.epochs + 1):
            loss = self._epoch(layers.train(), optimiser, falling, train)
            with torch.no_grad():
                right = layers.eval()(held[0]).argmax(1) == held[1]
            self.accuracy.append(100 * float(right.float().mean()))
            if self.accuracy[-1] > max(self.accuracy[:-1], default=-1.0):
                self.best, self.epoch = layers.kept(), epoch
            live = {"route accuracy": self.accuracy[-1], "loss": loss}
            yield Step(epoch, self.course.epochs, f"Router, epoch {epoch}", live)

    def _epoch(
        self,
        layers: Layers,
        optimiser: torch.optim.Optimizer,
        falling: torch.optim.lr_scheduler.LambdaLR,
        train: tuple[Tensor, Tensor],
    ) -> float:
        """Train on every input once, in a drawn order; returns the mean loss of the batches."""
        losses = []
        order = torch.randperm(len(train[1]), generator=self.generator).to(train[1].device)
        for rows in order.split(self.course.batch):
            if len(rows) > 1:  # batch normalisation needs two
                with torch.enable_grad():
                    loss = cross_entropy(layers(train[0][rows], self.generator), train[1][rows])
                    loss.backward()
                nn.utils.clip_grad_norm_(layers.parameters(), 1.0)
                optimiser.step()
                optimiser.zero_grad(set_to_none=True)
                losses.append(loss.item())
            falling.step()
        return sum(losses) / len(losses)


def pick_from_stream(inputs: Inputs) -> Callable[[str, int], Tensor]:
    """Return a picker that takes up to so many of the unlabelled test inputs a method may adapt to."""
    return lambda task, count: next(iter(inputs.stream(task, count)))


def _dropped(values: Tensor, generator: torch.Generator | None) -> Tensor:
    """Drop half of the values and double the others."""
    if generator is None:
        return values
    kept = torch.randint(2, values.shape, generator=generator, dtype=torch.uint8)
    return values * (2 * kept).to(values)
