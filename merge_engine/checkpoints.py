"""Problems from checkpoint files outside any suite, looked over before any compute."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from .backbones import BACKBONES, Backbone, get_backbone
from .errors import WeightsError
from .problem import MATRIX_KINDS, Problem
from .runs.recipe import check_name
from .weights import Compatibility, SafetensorsWeights, Weights, compare, load_weights


def open_checkpoints(
    pretrained: str | Path, experts: Mapping[str, str | Path], backbone: str | None = None
) -> Problem:
    """Return the problem of a pretrained model and experts by name, all safetensors files or folders.

    The backbone is recognised by its tensor names unless given. Raises WeightsError for what cannot be read.
    """
    for name in experts:
        check_name("expert", name)
    base = SafetensorsWeights(pretrained)
    opened = {name: load_weights(path, base) for name, path in experts.items()}
    return Problem(base, opened, recognise(base, backbone))


def recognise(pretrained: Weights, name: str | None = None) -> Backbone:
    """Return the backbone with this name, or the one whose block matrices the tensor names show."""
    found = {key: _matrices(get_backbone(key), pretrained) for key in BACKBONES}
    best = max(found, key=lambda key: found[key])
    if name is None:
        if not found[best]:
            raise WeightsError(
                f"The tensor names of the pretrained model show none of the known backbones ({', '.join(BACKBONES)}); "
                "name the nearest one."
            )
        return get_backbone(best)
    backbone = get_backbone(name)
    if not found[name]:
        hint = f"its tensor names are those of '{best}'" if found[best] else "use a model of this architecture"
        raise WeightsError(f"The pretrained model has no block matrices of backbone '{name}'; {hint}.")
    return backbone


def reports(problem: Problem) -> list[Compatibility]:
    """Return for every expert whether it fits the pretrained model; reads every tensor once."""
    return [compare(problem.pretrained, weights, name) for name, weights in problem.experts.items()]


def require_fit(problem: Problem) -> list[str]:
    """Return a sentence for every expert; raises WeightsError with the first that does not fit."""
    found = reports(problem)
    for report in found:
        if not report.ok:
            raise WeightsError(report.sentence())
    return [report.sentence() for report in found]


def _matrices(backbone: Backbone, weights: Weights) -> int:
    places = [backbone.place(name) for name in weights]
    return sum(place.block is not None and place.kind in MATRIX_KINDS for place in places)
