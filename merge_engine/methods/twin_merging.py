"""Twin-Merging."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn

from ..adapting.adaptive import AS_PUBLISHED
from ..contract import Context, Kind, MergeMethod, Step
from ..hp import declared, hp, read_settings, written
from ..maths.compress import compressed
from ..maths.parts import Part
from ..pausing import made_steps
from ..problem import Problem
from ..routing.by_router import Mix
from ..routing.per_input import Share, shares_of
from ..routing.routed import BlendedMerged
from ..routing.trained_router import Course, TrainedRouter, Training, pick_from_stream
from ..weights import Weights, in_memory
from . import build, method_class, static_keys

SCALING = "scaling"
SHARED = "shared"  # the model that the router reads, whatever gave it
CEILING = (
    "Protocol 'as published': the true task brings its head and biases, and the router's epoch is picked on test "
    "inputs; a ceiling, not a number to compare with merges that are not told the task."
)


def _shared() -> dict[str, str]:
    """Return the static merges that can give θ_s, with their scaling where they have one."""
    titles = {key: method_class(key) for key in static_keys()}
    return {
        key: f"θₛ is {cls.title}" + (" at the scaling λ" if "scaling" in declared(cls) else "")
        for key, cls in titles.items()
    }


@dataclass(frozen=True)
class TwinMerging(MergeMethod):
    """Merge what the experts share, keep what each has beyond it in few numbers, and mix both for every input.

        θ_s = θ_0 + λ Σ_t τ_t,  v_t = compress_ρ(θ_t − θ_s),  θ(x) = θ_s + Σ_t w_t(x) v_t,  w = softmax(R(f(x; θ_s)))

    References
    ----------
    Lu, Fan, Wei, Qu, Chen, Cheng, Twin-Merging: Dynamic Integration of Modular Expertise in Model Merging,
    NeurIPS 2024, arXiv:2406.15479.

    Notes
    -----
    Matrices keep k = ⌊ρ r⌋ singular components, embeddings and patch weights too; vectors stay whole; ρ = 0 keeps
    nothing. The router is the published network and course, trained on which task an input is from. Published numbers
    come from a code that takes biases and head from the true task and picks the epoch on test inputs: `as published`,
    where the half to adapt to stands for the test inputs. Here the routed task picks the head, biases are merged and
    validation inputs pick the epoch. λ and ρ are published choices, not tuned. The paper's generative variant, which
    merges the factors of LoRA and reads a sampled token, is left out: suites here classify.
    """

    kind: ClassVar[Kind] = "routed"
    title: ClassVar[str] = "Twin-Merging"
    family: ClassVar[str] = "Routed"
    idea: ClassVar[str] = (
        "Add to one shared model, for every input, small parts of the experts that a trained router weighs."
    )
    formula: ClassVar[str] = "θ(x) = θₛ + Σₜ wₜ(x) vₜ\nvₜ = compressed(θₜ − θₛ)\nw(x) = softmax(R(f(x; θₛ)))"
    where: ClassVar[str] = "R learns in E epochs over M train inputs of every task which task an input is from"
    paper: ClassVar[str] = "Lu et al., Twin-Merging, NeurIPS 2024, arXiv:2406.15479"
    needs: ClassVar[frozenset[str]] = frozenset({"train"})
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "cpu": {"examples": 500, "epochs": 20},
        "failure": {"examples": 500, "epochs": 20, "weights": "uniform"},
    }
    lesson: ClassVar[str] = (
        "Every input gets the same mix of the exclusive parts: what the router knows picks the head alone, and most of "
        "what Twin-Merging gains is lost."
    )

    shared: str = hp("task_arithmetic", "Static merge that gives the shared model.", choices=_shared, always=True)
    shared_scaling: float | str = hp(
        AS_PUBLISHED, "Scaling coefficient of the shared merge; published: its own default, 0.3 of Task Arithmetic.",
        low=-10, high=10, soft=(0, 2), step=0.05, symbol="λ", word=AS_PUBLISHED,
    )  # fmt: skip
    shared_settings: str = hp("", "Other parameters of the shared merge, such as density=0.1 of ties.", pairs=True)
    rank_share: float = hp(
        0.1, "Share of singular components, or of entries, that exclusive parts keep.", low=0, high=1, step=0.05,
        symbol="ρ",
    )  # fmt: skip
    compression: str = hp(
        "svd", "Exclusive parts: leading singular components, largest entries, or random entries divided by ρ.",
        choices={
            "svd": "vₜ keeps its leading singular components, the share ρ of the rank",
            "magnitude": "vₜ keeps the share ρ of its entries, the largest",
            "bernoulli": "vₜ keeps the random share ρ of its entries, divided by it",
        },
    )  # fmt: skip
    weights: str = hp(
        "router", "Weights of the exclusive parts; whatever they are, the router picks the head.",
        choices={
            "router": "the router weighs the exclusive parts",
            "uniform": "all exclusive parts weigh the same, whatever the input; the router picks the head",
            "one-hot": "the router's first choice brings its exclusive part whole",
            "shared-only": "exclusive parts are left out; the router picks the head",
            "exclusive-only": "exclusive parts stand on the pretrained model; the shared one only routes",
        },
    )  # fmt: skip
    protocol: str = hp(
        "routed", "Who picks head and biases, and what picks the router's epoch.", always=True,
        choices={
            "routed": "the router picks the head, biases are merged; the published code takes both from the true task",
            "as published": "the true task brings head and biases, and test inputs pick the epoch: a ceiling",
        },
    )  # fmt: skip
    examples: int = hp(5500, "Train inputs of every task for the router.", low=2, high=100_000, soft=(100, 5500),
                       symbol="M")  # fmt: skip
    epochs: int = hp(50, "Epochs of the router.", low=1, high=1000, soft=(5, 50), symbol="E")

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "shared_settings", written(self._settings()))  # alike for equal settings
        told = {"task id", "stream"} if self.protocol == "as published" else set()
        object.__setattr__(self, "needs", type(self).needs | method_class(self.shared).needs | told)

    def acting(self, experts: int) -> dict[str, Any]:
        scaling = declared(method_class(self.shared)).get(SCALING)
        if self.shared_scaling != AS_PUBLISHED or scaling is None:
            return self.parameters()
        return self.parameters() | {"shared_scaling": scaling.default}

    def remarks(self, tasks: tuple[str, ...]) -> list[str]:
        return [CEILING] if self.protocol == "as published" else []

    def decomposes(self) -> str:
        return "apart" if self.compression == "svd" else build(self.shared, **self._settings()).decomposes()

    def run(self, problem: Problem, ctx: Context) -> Generator[Step, None, BlendedMerged]:
        """Merge, compress, then train the router, yielding a Step after every tensor, batch of features and epoch."""
        self.check(problem.tasks)
        inputs = problem.need_inputs(self.title)
        shared = yield from self._shared(problem, ctx)
        shares = yield from self._exclusive(problem, shared, inputs.layers(), ctx)
        course = Course(self.examples, min(Course.pick_examples, self.examples), self.epochs)
        training = Training(shared, SHARED, problem.tasks, course, ctx.generator("twin_merging", "router"))
        pick = pick_from_stream(inputs) if self.protocol == "as published" else inputs.validation
        for step in training.steps(inputs, pick):
            ready = bool(training.accuracy)
            yield dataclasses.replace(
                step, snapshot=(lambda: self._merged(problem, shares, training.router(), ctx)) if ready else None
            )
        return self._merged(problem, shares, training.router(), ctx)

    def _shared(self, problem: Problem, ctx: Context) -> Generator[Step, None, dict[str, Tensor]]:
        """Return the shared model; experts are sorted, so that their order changes nothing."""
        settings = self._settings()
        if self.shared_scaling != AS_PUBLISHED and SCALING in declared(method_class(self.shared)):
            settings[SCALING] = self.shared_scaling
        ordered = dataclasses.replace(problem, experts=dict(sorted(problem.experts.items())))
        merged = yield from build(self.shared, **settings).run(ordered, ctx)  # type: ignore[attr-defined]
        for sentence in merged.notes:
            ctx.note(sentence)
        weights = merged.weights()
        borrowed = {n: problem.pretrained[n] for n in weights if self._borrowed(n)}
        return in_memory({**weights, **borrowed}, ctx.device)

    def _settings(self) -> dict[str, Any]:
        """Return what is set of the shared merge, but its scaling coefficient and numbers that follow the experts."""
        every = declared(method_class(self.shared)).items()
        known = {name: found for name, found in every if name != SCALING and not found.per_expert}
        return read_settings(self.shared_settings, known, self.shared)

    def _exclusive(
        self, problem: Problem, shared: Weights, layers: Mapping[str, nn.Module], ctx: Context
    ) -> Generator[Step, None, dict[str, Share]]:
        """Return the experts' compressed differences to the shared model, layer by layer."""
        if self.weights == "shared-only" or self.rank_share == 0:
            return {}
        inside = [f"{path}.{leaf}" for path, layer in layers.items() for leaf, _ in layer.named_parameters()]
        names = {n for n in inside if n in problem.pretrained and not self._borrowed(n)}
        groups = problem.groups(device=ctx.device, names=names)
        parts: dict[str, Part] = {}
        for done, group in enumerate(groups, 1):
            vectors, label = group.experts - shared[group.name].to(group.experts), f"Exclusive parts of {group.name}"
            if vectors.any():
                make = partial(compressed, vectors, self.compression, self.rank_share, ctx, (group.name, group.tasks))
                parts[group.name] = yield from made_steps(make, Step(done - 1, len(groups), label))
            yield Step(done, len(groups), label)
        return shares_of(parts, layers)[0]

    def _borrowed(self, name: str) -> bool:
        """True for tensors that the true task brings instead of having them merged."""
        return self.protocol == "as published" and "bias" in name

    def _merged(
        self, problem: Problem, shares: Mapping[str, Share], router: TrainedRouter, ctx: Context
    ) -> BlendedMerged:
        own = None
        if self.protocol == "as published":
            biases = [n for n in problem.pretrained if self._borrowed(n)]
            own = {task: {n: expert[n] for n in biases} for task, expert in problem.experts.items()}
        notes = (*self.remarks(problem.tasks), *ctx.notes)
        base, keeps = (problem.pretrained, "pretrained") if self.weights == "exclusive-only" else (router.model, SHARED)
        mix = Mix(router, self.weights)
        return BlendedMerged(base, problem.tasks, shares, mix, notes, keeps=keeps, own=own)
