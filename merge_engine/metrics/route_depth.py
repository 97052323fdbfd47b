"""How much every expert weighs in each layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ..answers import LayerWeights
from ..problem import Place
from ._measured import Measured, Row, quantity
from ._metric import Metric
from ._swept import Swept


@dataclass(frozen=True, eq=False)
class RouteWeights(Measured):
    """Weights of one merge: the axis `expert` is the task of the inputs, `other` the expert that they weigh."""

    weight: np.ndarray = field(metadata=quantity("row expert other", "Weight of an expert, mean over inputs."))
    largest: np.ndarray = field(
        metadata=quantity("row expert other", "Share of inputs for which it has the largest weight.")
    )
    own: np.ndarray = field(metadata=quantity("row expert", "Weight of the task's own expert, mean over inputs."))
    inputs: np.ndarray = field(metadata=quantity("expert", "Inputs weighed."))


@dataclass(frozen=True)
class MeasureRouteDepth(Metric):
    """Average the weights that inputs give to the experts, layer by layer and task by task.

        weight[l, t, u] = mean over inputs x of task t of w_l,u(x)

    References
    ----------
    Tang, Shen, Luo, Yin, Zhang, Tao, Merging Multi-Task Models via Weight-Ensembling Mixture of Experts, ICML 2024,
    arXiv:2402.00433; for other merges as each of them defines its weights.

    Notes
    -----
    Rows above a layer hold the mean over its layers. A weight that does not depend on the input is its own mean. Where
    an expert has several parts in a layer, its weight is their mean. Weights may be negative and need not add up to 1.
    """

    title: ClassVar[str] = "Routing through the network"
    about: ClassVar[str] = "How much inputs of every task weigh each expert, layer by layer."
    formula: ClassVar[str] = "weight[l, t, u] = meanₓ wₗ,ᵤ(x),  x of task t"
    reference: ClassVar[str] = "Tang et al., WEMoE, ICML 2024, arXiv:2402.00433"
    unit: ClassVar[str] = ""
    source: ClassVar = "predictions"
    shown: ClassVar[tuple[str, ...]] = ("all", "block")
    produces: ClassVar = RouteWeights
    headline: ClassVar[str] = "weight"

    def measure(self, weights: Mapping[str, LayerWeights], layers: Sequence[str] = ()) -> RouteWeights:
        """Put the mean weights by expert, each for inputs of its task, into rows by layer.

        `layers` (L,) are names of the layers' tensors; without them there is one row, the mean over all layers.
        """
        tasks, each = tuple(weights), list(weights.values())
        means, largest = (np.stack([getattr(w, name) for w in each], 1) for name in ("mean", "largest"))  # (L, T, T)
        if layers:
            places = [Place(*place) for place in each[0].places]
            statistics = [{"weight": m, "largest": top} for m, top in zip(means, largest, strict=True)]
            swept = Swept(tasks, len(tasks), list(zip(layers, places, statistics, strict=True)))
            rows, means, largest = swept.rows, swept.mean("weight"), swept.mean("largest")
        else:
            rows, means, largest = (Row("all"),), means.mean(0, keepdims=True), largest.mean(0, keepdims=True)
        own = np.diagonal(means, axis1=1, axis2=2).copy()
        return RouteWeights(tasks, rows, means, largest, own, np.array([w.n for w in each]))
