"""The panels that look into the weights, drawn as they are measured: spectrum, overlap and interference."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Generator, Sequence
from types import ModuleType
from typing import Any

from merge_engine.contract import Step
from merge_engine.merged import StaticMerged
from merge_engine.metrics import Measured, registry
from merge_engine.runs.recipe import Recipe
from merge_engine.suite import load_suite
from viz import theme
from viz.panel import Drawing, draw, empty
from viz.panels import histogram, interference, overlap, overlap_depth, spectrum
from viz.pin import Pin

from ..guarded import sentence
from ..remaining import Countdown
from ..session import Session
from ..view import Parts, menu, status
from ..workbench import Workbench
from .measure import FIRST_METRIC, Ask, metrics, uses_merge
from .pinned import NOTHING, SAME, UNLIKE, PinnedMerge, with_pinned

NEAR = ("spectrum", "interference", "overlap", "histogram")
COUNTED = ("sign_conflict", "mask_counts")  # measurements that the histogram can show
PATIENCE = 0.1  # seconds between two looks whether a merge still runs
LENSES = {
    "spectrum": spectrum, "overlap": overlap, "depths": overlap_depth, "interference": interference,
    "histogram": histogram,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Focus:
    """Everything the lenses depend on; `recipe` is the merge shown beside the experts, where it is kept.

    `pinned` is the merge to compare it with, or why that cannot be.
    """

    suite: str = ""
    experts: tuple[str, ...] = ()
    metric: str = ""
    block: int = 0
    kind: str = "fc1"
    recipe: Recipe | None = None
    pinned: PinnedMerge | None = None

    @property
    def beside(self) -> Recipe | None:
        """The recipe of the pinned merge where its weights can be drawn."""
        return self.pinned.recipe if self.pinned and not self.pinned.why else None

    @property
    def about(self) -> str:
        """A word for what is compared, wherever one looks."""
        return "|".join((self.suite, *self.experts))

    @property
    def key(self) -> str:
        """A word that differs whenever something else would be drawn."""
        own, other = self.recipe.digest if self.recipe else "", self.pinned.key if self.pinned else ""
        return "||".join((self.about, self.metric, str(self.block), self.kind, own, other))


def focus_of(session: Session, recipe: Recipe | None, pinned: PinnedMerge | None = None) -> Focus:
    """Return what the lenses should look at, with the merge shown, as far as it fits, and the one pinned."""
    fits = recipe and (recipe.suite, recipe.experts) == (session.suite, session.experts)
    metric, place = session.metric or FIRST_METRIC, (session.block, session.kind)
    return Focus(session.suite, session.experts, metric, *place, recipe if fits else None, pinned)


def stale(before: str, focus: Focus) -> tuple[str, ...]:
    """Return the panels that show something else than a focus wants, after what had a key `before`."""
    if before == focus.key:
        return ()
    pinned = focus.key.rpartition("||")[2]
    return NEAR if before.rpartition("||")[2] == pinned else (*NEAR, "depths")


def at_hand(bench: Workbench, focus: Focus) -> Parts:
    """Return the panels of a place that can be drawn without measuring."""
    found = ((name, bench.measures.together(asks(bench, focus, name))) for name in NEAR)
    return {name: _text(bench, focus, name, measured) for name, measured in found if measured}


def lens_steps(
    bench: Workbench, focus: Focus, going: Callable[[], bool], done: set[str]
) -> Generator[Parts, None, None]:
    """Yield parts as they are measured: the chosen place first, then what runs through the whole network.

    `done` names what the page shows already, and as "seen" what it shows of these experts at some place; what is
    yielded is added to it.
    """
    yield from _first(bench, focus, done)
    for name in NEAR if focus.experts else ():
        if name not in done:
            wanted = asks(bench, focus, name)
            yield from _drawn(bench, focus, name, wanted, going, known=True)
            done.update((name, f"seen {name}") if going() else ())
    for name in ("interference", "depths") if len(focus.experts) > 1 else ():
        far = [dataclasses.replace(wanted, block=None, kind=None) for wanted in asks(bench, focus, name)]
        if going() and (name not in done or any(bench.measures.get(wanted) is None for wanted in far)):
            yield from _drawn(bench, focus, name, far, going)
            done.update((name, f"seen {name}") if going() else ())


def ask(bench: Workbench, focus: Focus, name: str) -> Ask:
    """Return what a panel wants measured at the place in focus; the merged model beside it where it says something."""
    counted = focus.metric if focus.metric in COUNTED else COUNTED[0]
    chosen = {"spectrum": "spectrum", "interference": focus.metric, "histogram": counted}
    metric = chosen.get(name, "subspace")
    kind = None if name == "interference" else focus.kind
    beside = ""
    if focus.recipe and (metric == "spectrum" or uses_merge(metric)):
        beside = focus.recipe.digest if isinstance(bench.merged(focus.recipe), StaticMerged) else ""
    return Ask(focus.suite, focus.experts, metric, focus.block, kind, beside)


def asks(bench: Workbench, focus: Focus, name: str) -> list[Ask]:
    """Return what a panel wants measured: of the merge, and the same of the pinned one where it says something."""
    first = ask(bench, focus, name)
    compares = first.metric == "spectrum" or (first.merged and uses_merge(first.metric))
    if not compares or focus.beside is None:
        return [first]
    return [first, dataclasses.replace(first, merged=focus.beside.digest)]


def aside(bench: Workbench, focus: Focus, name: str) -> str:
    """Return why a panel does not draw the pinned merge; empty where it does, or nothing is pinned."""
    wanted, pinned = ask(bench, focus, name), focus.pinned
    if pinned is None:
        return ""
    if wanted.metric != "spectrum" and not uses_merge(wanted.metric):
        return pinned.alone
    if pinned.why or wanted.metric == "spectrum" or wanted.merged:
        return pinned.why
    return (UNLIKE if focus.recipe else NOTHING).format(pinned.letter)


def metric_menu(focus: Focus, words: dict[str, str]) -> str:
    """Return the menu of measurements for the interference panel."""
    drawn = " ".join((focus.metric, *words))
    return f'<span class="mp-metric">Interference {menu("metric", "Measurement", words, focus.metric, drawn)}</span>'


def _first(bench: Workbench, focus: Focus, done: set[str]) -> Generator[Parts, None, None]:
    """Empty panels that show something else, and offer the measurements that there are."""
    merged = bench.merged(focus.recipe) if focus.recipe else None
    words = {key: cls.title for key, cls in sorted(metrics(merged).items(), key=lambda item: item[1].title)}
    parts: Parts = {"measuring": status("")}
    if (offered := f"menu {' '.join((focus.metric, *words))}") not in done:
        done.difference_update([mark for mark in done if mark.startswith("menu ")])
        done.add(offered)
        parts["metrics"] = metric_menu(focus, words)
    unseen = [name for name in LENSES if not {name, f"seen {name}"} & done]
    yield parts | {name: _waiting(LENSES[name], focus) for name in unseen}


def _drawn(
    bench: Workbench, focus: Focus, name: str, wanted: Sequence[Ask], going: Callable[[], bool], known: bool = False
) -> Generator[Parts, None, None]:
    """Measure unless that is `known`, telling now and then how far it is, and draw; where that fails, say so there."""
    try:
        measured = list(bench.measures.together(wanted) if known else ())
        for one in wanted[len(measured) :]:
            more = yield from _measured(bench, focus, one, going)
            measured += [] if more is None else [more]
        if len(measured) == len(wanted):
            yield {name: _text(bench, focus, name, measured), "measuring": status("")}
    except Exception as error:
        yield {name: _sentence(sentence(error, "Measuring")), "measuring": status("")}


def _text(bench: Workbench, focus: Focus, name: str, measured: Sequence[Measured]) -> str:
    return bench.drawn.text(name, focus.key, measured, lambda: DRAWN[name](focus, aside(bench, focus, name), *measured))


def _measured(
    bench: Workbench, focus: Focus, wanted: Ask, going: Callable[[], bool]
) -> Generator[Parts, None, Measured | None]:
    """Measure; what runs through the whole network gives way to merges."""
    recipe = next((r for r in (focus.recipe, focus.beside) if r and r.digest == wanted.merged), None)
    merged = bench.merged(recipe) if recipe else None
    steps, title = bench.measures.steps(wanted, merged, going), registry()[wanted.metric].title.lower()
    countdown = Countdown()
    try:
        while True:
            while wanted.block is None and bench.busy and going():
                time.sleep(PATIENCE)
            step: Step = next(steps)
            if step.total > 8 and step.done % 6 == 0:
                words = f"measuring {title}{countdown.words(step.done, step.total)}"
                yield {"measuring": status(words, done=step.done, total=step.total, tone="busy")}
    except StopIteration as end:
        return end.value


def _spectrum(focus: Focus, said: str, measured: Measured, pinned: Measured | None = None) -> Drawing:
    data = measured if pinned is None else with_pinned(measured, pinned, _letter(focus))
    words = {"colors": _colors(focus), "selected": _place(focus), "aside": said}
    return draw(spectrum, data, block=focus.block, kind=focus.kind, **words)


def draw_interference(focus: Focus, said: str, measured: Measured, pinned: Measured | None = None) -> Drawing:
    """Return the interference panel of the chosen metric, all of its quantities as views; `said` stands below it."""
    metric = registry()[focus.metric]
    data = interference.Interference(measured, metric, pinned and Pin(_letter(focus), pinned))
    if data.pinned and not any(interference.moved(data, name) for name in measured.quantities()):
        said = SAME.format(data.pinned.letter)
    first, place = f"{metric.headline}{interference.CHANGE}", _place(focus)
    return draw(interference, data, **place, view=first, selected=place, aside=said)


def _overlap(focus: Focus, said: str, measured: Measured) -> Drawing:
    return draw(overlap, measured, block=focus.block, kind=focus.kind, selected=_place(focus), aside=said)


def _histogram(focus: Focus, said: str, measured: Measured, pinned: Measured | None = None) -> Drawing:
    data, other = measured if len(focus.experts) > 1 else None, pinned and Pin(_letter(focus), pinned)
    return draw(histogram, data, **_place(focus), pinned=other, selected=_place(focus), aside=said)


def _depths(focus: Focus, said: str, measured: Measured) -> Drawing:
    return draw(overlap_depth, measured, selected=_place(focus), aside=said)


def _letter(focus: Focus) -> str:
    return focus.pinned.letter if focus.pinned else ""


DRAWN: dict[str, Callable[..., Drawing]] = {
    "spectrum": _spectrum, "interference": draw_interference, "overlap": _overlap, "depths": _depths,
    "histogram": _histogram,
}  # fmt: skip


def _place(focus: Focus) -> dict[str, Any]:
    return {"block": focus.block, "kind": focus.kind}


def _colors(focus: Focus) -> dict[str, str]:
    return theme.colors(load_suite(focus.suite).task_of)


def _waiting(module: ModuleType, focus: Focus) -> Drawing:
    """Return an empty panel that says whether something is coming."""
    return draw(module, None) if len(focus.experts) < 2 else _sentence("Measuring …")


def _sentence(text: str) -> Drawing:
    return Drawing({"": empty(text)}, {}, "")
