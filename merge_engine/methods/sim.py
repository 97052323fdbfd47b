"""SiM, training-free task classification."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from .. import routers
from ..contract import Context, Kind, MergeMethod, Step
from ..errors import RecipeError
from ..hp import declared, hp, like, read_settings, written
from ..merged import Merged, PerTaskMerged
from ..problem import Problem
from ..routers.subspace import Subspace
from ..routing import stores
from ..routing.by_router import Blend
from ..routing.routed import BlendedMerged, RoutedMerged, leaks


@dataclass(frozen=True)
class SiM(MergeMethod):
    """Classify the task of every input by features of the pretrained model, and run the expert of that task.

        V_t: leading singular vectors of N centred support features,  c = z(x) − μ_t
        t(x) = argmin_t ‖c‖² − ‖V_tkᵀ c‖²,  θ(x) = θ_0 + part of t(x),  head of t(x)

    References
    ----------
    Son, Jung, Baik, Training-free Task Classification for Multi-Task Model Merging, arXiv:2606.22589.

    Notes
    -----
    A reconstruction: the paper's code is not public, and N, k, centring and normalisation are ours. Two passes per
    input, one of the pretrained model and one of an expert; a batch is grouped by expert. Any router and any store of
    experts can be combined. `soft` and `top-2` blend experts with weights softmax(score / σ), σ the median gap between
    the best and the second score of held-out support inputs; the head is that of the best score. `unit=batch` takes the
    vote of a batch, which leaks its task; `head=given` shows what the chosen heads cost. Where two tasks are much the
    same, `alike` of the measurement `routing` counts them as one.
    """

    kind: ClassVar[Kind] = "routed"
    title: ClassVar[str] = "SiM"
    family: ClassVar[str] = "Routed"
    idea: ClassVar[str] = "Find the task of every input by the nearest manifold of features, then run that expert."
    formula: ClassVar[str] = "t(x) = argminₜ ‖c‖² − ‖Vₜₖᵀ c‖², c = z(x) − μₜ"
    paper: ClassVar[str] = "Son et al., Training-free Task Classification, arXiv:2606.22589"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"failure": {"residual": "relative"}}
    lesson: ClassVar[str] = (
        "Dividing by the length of an input's feature changes which subspace looks nearest: look at the "
        "confusion of routes."
    )
    needs: ClassVar[frozenset[str]] = frozenset({"support"})

    router: str = hp("subspace", "What chooses the expert.", choices=lambda: tuple(routers.registry()))
    store: str = hp("tsv_c", "How experts are kept; `experts` keeps them whole.", choices=stores.stores)
    decision: str = hp(
        "hard", "The best expert alone, all experts weighed by their scores, or the two best.",
        choices=("hard", "soft", "top-2"),
    )  # fmt: skip
    unit: str = hp(
        "input", "What is routed: every input, or a batch by the vote of its inputs (leaks the task).",
        choices=("input", "batch"),
    )  # fmt: skip
    head: str = hp(
        "routed", "The head of the chosen expert, or the one of the true task: what wrong heads cost.",
        choices=("routed", "given"),
    )  # fmt: skip
    examples: int = like(Subspace, "examples")
    rank: int = like(Subspace, "rank")
    energy: float = like(Subspace, "energy")
    centring: str = like(Subspace, "centring")
    residual: str = like(Subspace, "residual")
    calibration: str = like(Subspace, "calibration")
    normalise: bool = like(Subspace, "normalise")
    backbone: str = like(Subspace, "backbone")
    layer: int = like(Subspace, "layer")
    tokens: str = like(Subspace, "tokens")
    draw: int = like(Subspace, "draw")
    router_settings: str = hp("", "Other parameters of the router, such as shrinkage=0.2 of mahalanobis.", pairs=True)
    store_settings: str = hp("", "Parameters of the store, such as rank=0.2 of cart_indexed.", pairs=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, settings in zip(("router_settings", "store_settings"), self._settings(), strict=True):
            object.__setattr__(self, name, written(settings))  # alike for equal settings
        needs = self.chooser().needs | stores.needs_of(self.store, self._settings()[1])
        object.__setattr__(self, "needs", needs)  # what this choice is given

    def check(self, tasks: tuple[str, ...]) -> None:
        super().check(tasks)
        if self.decision != "hard" and not issubclass(routers.router_class(self.router), routers.SupportRouter):
            raise RecipeError(
                f"decision={self.decision} weighs experts by their scores on a support set, which router="
                f"{self.router} does not have; choose decision=hard, or another router."
            )
        if self.decision != "hard" and (self.unit, self.head) != ("input", "routed"):
            raise RecipeError("A batch votes, and a head is given, for decision=hard alone; choose that.")

    def remarks(self, tasks: tuple[str, ...]) -> list[str]:
        found, most = [], self.examples - (self.centring == "task")
        if self.router == "subspace" and self.rank > most:
            found.append(f"{self.examples} examples span at most {most} dimensions; rank {self.rank} is lowered.")
        if "task id" in self.needs:
            found.append("The router is told the true task of every input: a ceiling.")
        if self.unit == "batch":
            found.append(leaks("A vote"))
        if self.head == "given":
            found.append("The head is given, not chosen: an upper bound, in which a wrong expert can still be right.")
        return found

    def run(self, problem: Problem, ctx: Context) -> Generator[Step, None, Merged]:
        """Fit the router, then build the store, yielding Steps."""
        self.check(problem.tasks)
        if self.needs - {"task id"}:
            problem.need_inputs(self.title)
        fitted = yield from self.chooser().fit_steps(problem, ctx)
        store = yield from stores.store_steps(self.store, problem, ctx, self._settings()[1])
        notes = (*self.remarks(problem.tasks), *ctx.notes)
        if isinstance(fitted, routers.Fitted) and self.decision != "hard":
            return self._blended(problem, store, fitted, notes)
        oracle, vote, given = "task id" in self.needs, self.unit == "batch", self.head == "given"
        return RoutedMerged(store, fitted, oracle, notes, vote, given)

    def chooser(self) -> routers.Router:
        """Return the router with those of its parameters that are declared here, and the others that are set."""
        own = self.parameters()
        asked = declared(routers.router_class(self.router))
        return routers.build(self.router, **{n: own[n] for n in asked if n in own}, **self._settings()[0])

    def _settings(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what is set of the router, beside what is declared here, and of the store."""
        own = declared(type(self))
        left = {name: hp for name, hp in declared(routers.router_class(self.router)).items() if name not in own}
        return (
            read_settings(self.router_settings, left, self.router),
            read_settings(self.store_settings, stores.parameters_of(self.store), self.store),
        )

    def _blended(
        self, problem: Problem, store: PerTaskMerged, fitted: routers.Fitted, notes: tuple[str, ...]
    ) -> BlendedMerged:
        shares = stores.blendable(store, problem.need_inputs(self.title).layers())
        weighting = Blend(fitted, fitted.gap(), 2 if self.decision == "top-2" else None)
        return BlendedMerged(problem.pretrained, problem.tasks, shares, weighting, notes, store=store)
