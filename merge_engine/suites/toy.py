"""A tiny suite that builds itself in seconds: what unit tests merge."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..backbones import get_backbone
from .layout import TaskEntry, write_backbone, write_task, write_toml
from .splits import named_seed
from .toy_pictures import TOY_TASKS, draw_task

CONFIG = {
    "model_type": "dinov2",
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "mlp_ratio": 2,
    "image_size": 32,
    "patch_size": 16,
    "layer_norm_eps": 1e-6,
}
TRAINING = {"head_pictures": 10, "head_ridge": 0.1, "epochs": 4, "learning_rate": 2e-3, "batch": 64}
DECLARATION = {
    "name": "toy",
    "title": "Toy: drawn pictures and a tiny transformer",
    "backbone": "dinov2",
    "input_size": CONFIG["image_size"],
    "logit_scale": 20.0,
    "feature": "CLS token and mean patch token, centred by the global mean, unit norm",
}
TRAIN, TEST = 640, 160
PRETRAINING_STEPS = 60


def build_toy(path: str | Path, seed: int = 0) -> Path:
    """Build the toy suite in a folder: data, a briefly pretrained backbone, heads and experts.

    Five tasks of drawn pictures, four of them with an expert. The same seed gives the same
    pictures, and the same weights up to the order in which the machine adds.
    """
    from ..training.suite_training import train_suite

    path = Path(path)
    for task in TOY_TASKS:
        draws = [draw_task(task, count, seed, part) for part, count in (("train", TRAIN), ("test", TEST))]
        pictures, labels = zip(*draws, strict=True)
        write_task(path / "data" / task.name, "toy", task.name, pictures, labels)
    write_backbone(path / "backbone", CONFIG, pretrain(seed))
    entries = [
        TaskEntry(
            task.name, task.title, task.seen, task.classes, f"data/{task.name}", "Apache-2.0", "drawn here"
        )
        for task in TOY_TASKS
    ]
    write_toml(
        path / "suite.toml", DECLARATION, entries, {t.name: t.name for t in TOY_TASKS if t.seen}, TRAINING
    )
    for _ in train_suite(path, path):
        pass
    return path


def pretrain(seed: int) -> dict[str, Tensor]:
    """Weights after a short training on all tasks at once, through linear heads that are thrown away."""
    backbone = get_backbone("dinov2", input_size=CONFIG["image_size"])
    module = backbone.build(CONFIG)
    draw = torch.Generator().manual_seed(named_seed("toy", "pretrain", str(seed)))
    weights = {n: _initial(n, p, draw).requires_grad_() for n, p in module.named_parameters()}
    width = 2 * CONFIG["hidden_size"]
    data = [draw_task(task, 96, seed, "pretrain") for task in TOY_TASKS]
    inputs = [backbone.prepare(pictures) for pictures, _ in data]
    labels = [torch.from_numpy(y) for _, y in data]
    heads = [torch.zeros(len(task.classes), width, requires_grad=True) for task in TOY_TASKS]
    optimiser = torch.optim.AdamW([*weights.values(), *heads], lr=2e-3, weight_decay=0.0)
    for _ in range(PRETRAINING_STEPS):
        rows = torch.randint(96, (12,), generator=draw)
        features = backbone.features(module, weights, torch.cat([x[rows] for x in inputs])).split(len(rows))
        losses = [cross_entropy(f @ h.T, y[rows]) for f, h, y in zip(features, heads, labels, strict=True)]
        optimiser.zero_grad()
        torch.stack(losses).mean().backward()
        optimiser.step()
    return {name: value.detach() for name, value in weights.items()}


def _initial(name: str, parameter: Tensor, draw: torch.Generator) -> Tensor:
    """Ones for norms and layer scales, zeros for biases and the mask token, small noise for the rest."""
    if name.endswith("bias") or "mask_token" in name:
        return torch.zeros(parameter.shape)
    if parameter.ndim == 1:
        return torch.ones(parameter.shape)
    fan_in = parameter[0].numel() if parameter.ndim > 1 else 1
    scale = 0.3 if "embeddings." in name and parameter.ndim == 3 else fan_in**-0.5
    return scale * torch.randn(parameter.shape, generator=draw)
