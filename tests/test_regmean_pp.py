"""RegMean++: against loops in float64, and where it must equal other methods."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from reference import spectral as naive

from merge_engine.backbones import Backbone, get_backbone
from merge_engine.backbones.blockwise import enter, through
from merge_engine.contract import Context
from merge_engine.methods import build
from merge_engine.problem import Problem
from merge_engine.running import merge
from merge_engine.weights import in_memory

VISION = {
    "hidden_size": 8,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "patch_size": 14,
    "mlp_ratio": 2,
    "image_size": 28,
}


@dataclass(frozen=True)
class Net:
    """A tiny vision transformer and random pictures by task; `same` gives all tasks the same ones."""

    blocks: int = 3
    same: bool = False

    @cached_property
    def backbone(self) -> Backbone:
        return get_backbone("dinov2", input_size=28)

    @cached_property
    def module(self):
        return self.backbone.build({**VISION, "num_hidden_layers": self.blocks})

    def support(self, task: str, count: int) -> torch.Tensor:
        return torch.randn(
            count, 3, 28, 28, generator=Context().generator("pictures", "" if self.same else task)
        )

    def linear_inputs(self, weights, inputs):
        return self.backbone.linear_inputs(self.module, weights, inputs)

    def enter(self, weights, inputs):
        return enter(self.backbone, self.module, weights, inputs)

    def through(self, weights, block, given):
        return through(self.backbone, self.module, weights, block, given)


def problem_of(tasks: int, net: Net | None = None, differ=lambda name: True) -> Problem:
    net = net or Net()

    def weights(seed: int, size: float) -> dict[str, torch.Tensor]:
        g = torch.Generator().manual_seed(seed)
        return {n: torch.randn(p.shape, generator=g) * size for n, p in net.module.named_parameters()}

    pretrained = {n: (w + 1 if "norm" in n and "weight" in n else w) for n, w in weights(0, 0.4).items()}
    noise = [weights(t + 1, 0.1) for t in range(tasks)]
    experts = {
        f"task{t}": {n: w + differ(n) * noise[t][n] for n, w in pretrained.items()} for t in range(tasks)
    }
    return Problem(pretrained, experts, net.backbone, net)


def run(problem: Problem, key: str = "regmean_pp", **parameters) -> dict[str, torch.Tensor]:
    return in_memory(merge(problem, build(key, **parameters), ctx=Context()).weights())


def gap(a: dict, b: dict) -> float:
    return max(
        float((a[n].double() - b[n].double()).norm() / b[n].double().norm().clamp_min(1e-3)) for n in b
    )


def test_against_loops():
    """Block by block, input by input: the expert's block on the merged ones before, whole passes in float64."""
    problem = problem_of(3)
    net, place = problem.inputs, problem.architecture.place
    experts = [{n: w.double() for n, w in e.items()} for e in problem.experts.values()]
    merged = {n: sum(e[n] for e in experts) / 3 for n in problem.pretrained}
    for block in range(3):
        rows = {n: [] for n in net.backbone.linears(merged) if place(n).block == block}
        for task, expert in zip(problem.tasks, experts, strict=True):
            mixed = {m: expert[m] if place(m).block == block else merged[m] for m in merged}
            passes = [net.linear_inputs(mixed, x[None]) for x in net.support(task, 8).double()]
            for n in rows:
                rows[n].append(torch.cat([seen[n] for seen in passes]))
        merged |= {
            n: naive.regmean([e[n] for e in experts], problem.pretrained[n].double(), x, 0.9, 1e-6)
            for n, x in rows.items()
        }
    found = run(problem, examples=8, off_diagonal=0.9)
    assert gap(found, merged) < 1e-3
    assert gap(run(problem, "regmean", examples=8, off_diagonal=0.9), merged) > 0.05


def test_one_expert_is_returned():
    problem = problem_of(1)
    assert gap(run(problem, examples=40), problem.experts["task0"]) < 1e-3


def test_identical_experts_are_returned():
    problem = problem_of(1)
    alike = Problem(
        problem.pretrained, dict.fromkeys("abc", problem.experts["task0"]), problem.architecture, Net()
    )
    assert gap(run(alike, examples=40), problem.experts["task0"]) < 1e-3


def test_equal_inputs_give_the_average():
    """On the same pictures, experts that differ only in q, k and v see the same inputs of these in every block."""
    problem = problem_of(3, Net(same=True), lambda name: any(f"{k}_proj.weight" in name for k in "qkv"))
    assert gap(run(problem, examples=40), run(problem, "average")) < 1e-3


def test_one_block_after_equal_embeddings_is_regmean():
    problem = problem_of(3, Net(blocks=1), lambda name: "encoder" in name)
    assert gap(run(problem, examples=12), run(problem, "regmean", examples=12)) < 1e-5
    free = problem_of(3, Net(blocks=1))
    assert gap(run(free, examples=12), run(free, "regmean", examples=12)) > 1e-3
