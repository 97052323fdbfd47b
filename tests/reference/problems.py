"""Problems whose task vectors are exact in float32, so that a float64 reference decides every tie alike."""

from __future__ import annotations

import numpy as np
import torch
from conftest import SmallTransformer

from merge_engine.problem import Problem

FINE, COARSE = 2.0**-18, 2.0**-5
"""Steps of the grid: on the fine one ties are rare, on the coarse one they are everywhere."""

SHAPES = {
    "blocks.0.fc1.weight": (6, 4),
    "blocks.0.fc1.bias": (6,),
    "blocks.0.q.weight": (4, 4),
    "blocks.1.fc2.weight": (5, 1),
    "blocks.1.norm.weight": (7,),
    "embed.weight": (3, 5),
    "logit_scale": (),
    "patch.weight": (3, 2, 2, 2),
}


def grid(shape: tuple[int, ...], size: float, step: float, draw: torch.Generator) -> torch.Tensor:
    """Return normal numbers of a given size, rounded to a grid; float32 and exact below 2^23 steps."""
    return (torch.randn(shape, generator=draw) * size / step).round() * step


def grid_problem(tasks: int, step: float = FINE, *, seed: int = 0, shapes=None, size: float = 0.1) -> Problem:
    """Return a problem whose weights and task vectors lie on one grid."""
    draw = torch.Generator().manual_seed(seed)
    shapes = SHAPES if shapes is None else shapes
    pretrained = {n: grid(s, 1.0, step, draw) for n, s in shapes.items()}
    experts = {
        f"task{t}": {n: w + grid(w.shape, size, step, draw) for n, w in pretrained.items()}
        for t in range(tasks)
    }
    return Problem(pretrained, experts, SmallTransformer())


def arrays(problem: Problem) -> tuple[dict[str, np.ndarray], list[dict[str, np.ndarray]]]:
    """Return the pretrained model and the experts as float64 arrays."""
    models = [problem.pretrained, *problem.experts.values()]
    theta0, *experts = [{n: w[n].double().numpy() for n in problem.pretrained} for w in models]
    return theta0, experts


def changed(problem: Problem, change) -> Problem:
    """Return the problem with every expert's task vector replaced by `change(task index, name, τ)`."""
    experts = {
        task: {n: base + change(t, n, expert[n] - base) for n, base in problem.pretrained.items()}
        for t, (task, expert) in enumerate(problem.experts.items())
    }
    return Problem(problem.pretrained, experts, problem.architecture, problem.inputs)
