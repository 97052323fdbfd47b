"""The panels that look into the weights, drawn as they are measured: spectrum, overlap and interference."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Generator
from types import ModuleType
from typing import Any

from merge_engine.contract import Step
from merge_engine.errors import MergeError
from merge_engine.merged import Merged, StaticMerged
from merge_engine.metrics import Measured, registry
from merge_engine.recipe import Recipe
from merge_engine.suite import load_suite
from viz import theme
from viz.panel import Drawing, draw, empty
from viz.panels import interference, overlap, overlap_depth, spectrum

from .measure import FIRST_METRIC, Ask, metrics, uses_merge
from .session import Session
from .view import Parts, menu, status
from .workbench import Workbench

PATIENCE = 0.1  # seconds between two looks whether a merge still runs
LENSES = {"spectrum": spectrum, "overlap": overlap, "depths": overlap_depth, "interference": interference}


@dataclasses.dataclass(frozen=True)
class Focus:
    """Everything the lenses depend on; `recipe` is the merge shown beside the experts, if it is kept."""

    suite: str = ""
    experts: tuple[str, ...] = ()
    metric: str = ""
    block: int = 0
    kind: str = "fc1"
    recipe: Recipe | None = None

    @property
    def about(self) -> str:
        """A word for what is compared, wherever one looks."""
        return "|".join((self.suite, *self.experts))

    @property
    def key(self) -> str:
        """A word that differs whenever something else would be drawn."""
        digest = self.recipe.digest if self.recipe else ""
        return "||".join((self.about, self.metric, str(self.block), self.kind, digest))


def focus_of(session: Session, recipe: Recipe | None) -> Focus:
    """Return what the lenses should look at."""
    beside = recipe if recipe and recipe.suite == session.suite and recipe.experts == session.experts else None
    metric = session.metric or FIRST_METRIC
    return Focus(session.suite, session.experts, metric, session.block, session.kind, beside)


def lens_steps(
    bench: Workbench, focus: Focus, going: Callable[[], bool], *, fresh: bool = False
) -> Generator[Parts, None, None]:
    """Yield parts as they are measured: the chosen matrix first, then everything by depth.

    `fresh` says that the panels show other experts, or nothing, so that they are emptied first.
    """
    merged = bench.merged(focus.recipe) if focus.recipe else None
    yield {"metrics": metric_menu(focus, merged), "measuring": status("")}
    if len(focus.experts) < 2 or fresh:
        yield {name: _waiting(module, focus) for name, module in LENSES.items()}
    if not focus.experts:
        return
    here = Ask(focus.suite, focus.experts, "spectrum", focus.block, focus.kind)
    for name, ask, drawn in (
        ("spectrum", here, _spectrum),
        ("interference", dataclasses.replace(here, metric=focus.metric, kind=None), draw_interference),
        ("overlap", dataclasses.replace(here, metric="subspace"), _overlap),
        ("interference", dataclasses.replace(here, metric=focus.metric, block=None, kind=None), draw_interference),
        ("depths", dataclasses.replace(here, metric="subspace", block=None, kind=None), _depths),
    ):
        if focus.recipe and isinstance(merged, StaticMerged) and (ask.metric == "spectrum" or uses_merge(ask.metric)):
            ask = dataclasses.replace(ask, merged=focus.recipe.digest)
        try:
            measured = yield from _measured(bench, ask, merged if ask.merged else None, going)
        except MergeError as error:
            yield {name: _sentence(str(error))}
            continue
        if measured is None:
            return
        yield {name: drawn(focus, measured), "measuring": status("")}


def metric_menu(focus: Focus, merged: Merged | None) -> str:
    """Return the menu of measurements for the interference panel."""
    words = {key: cls.title for key, cls in metrics(merged).items()}
    words = dict(sorted(words.items(), key=lambda item: item[1]))
    return f'<span class="mp-metric">Interference {menu("metric", "Measurement", words, focus.metric)}</span>'


def _measured(
    bench: Workbench, ask: Ask, model: Merged | None, going: Callable[[], bool]
) -> Generator[Parts, None, Measured | None]:
    """Measure, telling now and then how far it is; what is measured through all blocks gives way to merges."""
    steps = bench.measures.steps(ask, model, going)
    try:
        while True:
            while ask.block is None and bench.busy and going():
                time.sleep(PATIENCE)
            step: Step = next(steps)
            if step.total > 8 and step.done % 6 == 0:
                yield {"measuring": status(f"measuring {registry()[ask.metric].title.lower()}", done=step.done,
                                           total=step.total, tone="busy")}  # fmt: skip
    except StopIteration as end:
        return end.value


def _spectrum(focus: Focus, measured: Measured) -> Drawing:
    return draw(spectrum, measured, block=focus.block, kind=focus.kind, colors=_colors(focus), selected=_place(focus))


def draw_interference(focus: Focus, measured: Measured) -> Drawing:
    """Return the interference panel of the chosen metric, all of its quantities as views."""
    data = interference.Interference(measured, registry()[focus.metric])
    return draw(interference, data, block=focus.block, kind=focus.kind, selected=_place(focus))


def _overlap(focus: Focus, measured: Measured) -> Drawing:
    return draw(overlap, measured, block=focus.block, kind=focus.kind, selected=_place(focus))


def _depths(focus: Focus, measured: Measured) -> Drawing:
    return draw(overlap_depth, measured, selected=_place(focus))


def _place(focus: Focus) -> dict[str, Any]:
    return {"block": focus.block, "kind": focus.kind}


def _colors(focus: Focus) -> dict[str, str]:
    return theme.colors(load_suite(focus.suite).task_of)


def _waiting(module: ModuleType, focus: Focus) -> Drawing:
    """Return an empty panel that says whether something is coming."""
    return draw(module, None) if len(focus.experts) < 2 else _sentence("Measuring …")


def _sentence(text: str) -> Drawing:
    return Drawing({"": empty(text)}, {}, "")
