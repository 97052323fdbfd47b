"""DaWin, weights by the entropy of every expert."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..adapting.adapt import entropy
from ..contract import Context, Kind, MergeMethod, Step
from ..hp import hp
from ..merged import Merged
from ..problem import Problem
from ..routing.per_input import Decision, blended
from ..routing.prediction import Network, Prediction, Predictor
from ..routing.stores import FULL, EveryExpert, blendable, store_steps
from ..weights import in_memory


@dataclass(frozen=True)
class Dawin(MergeMethod):
    """Ask every expert how certain it is of an input, and add the task vectors of the certain ones.

        w_t(x) = λ T softmax_t(−H(softmax(head(f(x; θ_t))))),  θ(x) = θ_0 + Σ_t w_t(x) τ_t

    References
    ----------
    Oh, Li, Song, Yun, Han, DaWin: Training-free Dynamic Weight Interpolation for Robust Adaptation, ICLR 2025,
    arXiv:2410.03782.

    Notes
    -----
    It is told the task of every input, which picks the head that all entropies are taken under: a ceiling. T passes to
    find the weights and one with them; every input has its own, without the clusters of the published code, and the
    batch is not run again for each of its inputs as it is there.
    """

    kind: ClassVar[Kind] = "routed"
    title: ClassVar[str] = "DaWin (task known)"
    family: ClassVar[str] = "Routed"
    idea: ClassVar[str] = "Weigh the experts for every input by how certain each is of it."
    formula: ClassVar[str] = "θ(x) = θ₀ + Σₜ wₜ(x) τₜ\nw(x) = λ · T · softmaxₜ(−Hₜ(x))"
    where: ClassVar[str] = "Hₜ(x) is the entropy of what expert t predicts for x"
    paper: ClassVar[str] = "Oh et al., DaWin: Training-free Dynamic Weight Interpolation, ICLR 2025, arXiv:2410.03782"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"failure": {"offset": 1.0}}
    lesson: ClassVar[str] = (
        "The weights of an input add up to the number of experts: even the right experts, weighed for every input, "
        "make too long a step together."
    )
    needs: ClassVar[frozenset[str]] = frozenset({"task id"})

    offset: float = hp(
        0.3, "Mean weight of the experts; the weights of an input add up to λT.", low=0, high=10, soft=(0, 1),
        step=0.05, symbol="λ", sweep=(0.1, 0.2, 0.3, 0.5),
    )  # fmt: skip

    def remarks(self, tasks: tuple[str, ...]) -> list[str]:
        return [f"DaWin is told the task of every input and makes {len(tasks) + 1} passes: a ceiling."]

    def serves_unseen(self) -> bool:
        return True

    def run(self, problem: Problem, ctx: Context) -> Generator[Step, None, Merged]:
        """Read every expert, yielding a Step after each tensor."""
        self.check(problem.tasks)
        store = yield from store_steps(FULL, problem, ctx)
        return DawinMerged(store, self.offset, (*self.remarks(problem.tasks), *store.notes))


@dataclass(frozen=True)
class DawinMerged(EveryExpert):
    """Experts in a store, blended for every input by their entropy under the head of the true task."""

    offset: float
    notes: tuple[str, ...] = ()

    @property
    def forwards(self) -> float:
        return len(self.tasks) + 1.0

    @property
    def work(self) -> float:
        return self.forwards + len(self.tasks)

    def predictor(self, network: Network, dtype: torch.dtype = torch.float32) -> Predictor:
        """Return a predictor: one pass of every expert, and one of the blend."""
        serve, stored = self.store.predictor(network, dtype), blendable(self.store, network.layers())
        shares = {path: share.to(dtype, network.device) for path, share in stored.items()}
        base = in_memory(self.store.pretrained, network.device, dtype)

        def predict(inputs: Tensor, task: str | None = None) -> Prediction:
            assert task is not None
            said = [network.logits(task, serve(inputs, expert).features) for expert in self.tasks]
            w = weights_of(torch.stack([entropy(logits) for logits in said], 1), self.offset)
            features, route = blended(network, base, shares, Decision.same(w), inputs)
            return Prediction(features, route=route)

        return predict


def weights_of(entropies: Tensor, offset: float) -> Tensor:
    """Return λ T softmax(−H), (B, T)."""
    return offset * entropies.shape[1] * (-entropies).softmax(1)
