"""Measurements for the panels: taken once per experts, metric and place, then remembered. Knows no Gradio."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

from merge_engine.contract import Context, Step
from merge_engine.maths.svd import SvdStore
from merge_engine.merged import Merged, StaticMerged
from merge_engine.metrics import Measured, Metric, WeightMetric, build, registry
from merge_engine.places import matrices
from merge_engine.runs.first_look import stored
from merge_engine.suite import load_suite

LIMIT, PAUSED = 96, 4
PATIENCE = 0.05  # seconds between two looks whether another visitor's measurement is there
FIRST_METRIC = "cosine"


@dataclass(frozen=True)
class Ask:
    """What to measure: a metric of some experts in one matrix, in the matrices of a block or a kind, or in all.

    `merged` is the digest of the recipe measured beside the experts, or empty.
    """

    suite: str
    experts: tuple[str, ...]
    metric: str
    block: int | None = None
    kind: str | None = None
    merged: str = ""


class Measures:
    """The measurements of one process, shared by all visitors."""

    def __init__(self, svd: SvdStore) -> None:
        self.svd = svd
        self._kept: OrderedDict[Ask, Measured] = OrderedDict()
        self._paused: OrderedDict[Ask, Generator[Step, None, Measured]] = OrderedDict()
        self._taking: set[Ask] = set()
        self._lock = threading.Lock()

    def get(self, ask: Ask) -> Measured | None:
        """Return a measurement that was taken before, or one that is shipped, or None."""
        if ask not in self._kept and not ask.merged and ask.experts == (suite := load_suite(ask.suite)).experts:
            found = stored(suite, ask.metric, ask.block, ask.kind)
            if found is not None:
                self._kept[ask] = found
        return self._kept.get(ask)

    def widest(self, ask: Ask) -> Measured | None:
        """Return a measurement that has this place in it: of the whole network, else of its block or its matrix."""
        found = self.together((ask,))
        return found[0] if found else None

    def together(self, asks: Sequence[Ask]) -> tuple[Measured, ...]:
        """Return measurements that have one place in them, all of the same width, the widest; empty without them."""
        for wide in ({"block": None, "kind": None}, {"kind": None}, {}):
            found = [self.get(dataclasses.replace(ask, **wide)) for ask in asks]
            if all(one is not None for one in found):
                return tuple(one for one in found if one is not None)
        return ()

    def steps(
        self, ask: Ask, merged: Merged | None = None, going: Callable[[], bool] = lambda: True
    ) -> Generator[Step, None, Measured | None]:
        """Measure unless remembered, yielding a Step after each tensor; None when `going()` turned false.

        A measurement that was left is kept as it stands and goes on from there the next time. Nobody takes one that
        somebody else is taking: one waits for it, in Steps without a total.
        """
        while not self._take(ask):
            if not going():
                return None
            time.sleep(PATIENCE)
            yield Step(0, 0)
        try:
            known = self.get(ask)
            return known if known is not None else (yield from self._taken(ask, merged, going))
        finally:
            self._taking.discard(ask)

    def _take(self, ask: Ask) -> bool:
        """Return whether a measurement may be taken now; nobody else may until it is let go of."""
        with self._lock:
            free = ask not in self._taking
            self._taking.add(ask)
            return free

    def _taken(
        self, ask: Ask, merged: Merged | None, going: Callable[[], bool]
    ) -> Generator[Step, None, Measured | None]:
        steps = self._paused.pop(ask, None) or self._begun(ask, merged)
        try:
            while going():
                yield next(steps)
        except StopIteration as end:
            self._kept[ask] = end.value
            _bound(self._kept, LIMIT)
            return end.value
        except GeneratorExit:
            self._pause(ask, steps)
            raise
        self._pause(ask, steps)
        return None

    def _pause(self, ask: Ask, steps: Generator[Step, None, Measured]) -> None:
        self._paused[ask] = steps
        _bound(self._paused, PAUSED)

    def _begun(self, ask: Ask, merged: Merged | None) -> Generator[Step, None, Measured]:
        suite, metric = load_suite(ask.suite), build(ask.metric)
        assert isinstance(metric, WeightMetric)
        wanted = matrices(suite, ask.block, ask.kind)
        ctx = Context(suite.device, svd=self.svd)
        return metric.steps(suite.problem(ask.experts), ctx, names=wanted, merged=merged)


def _bound(kept: OrderedDict, limit: int) -> None:
    while len(kept) > limit:
        kept.popitem(last=False)


def metrics(merged: Merged | None) -> dict[str, type[Metric]]:
    """Return the metrics that the interference panel can show now, by key."""
    return {key: cls for key, cls in registry().items() if _fits(cls, merged)}


def offered() -> set[str]:
    """Return the keys of all metrics that the interference panel can ever show."""
    return {key for key, cls in registry().items() if _maps(cls)}


def _fits(cls: type[Metric], merged: Merged | None) -> bool:
    return _maps(cls) and (getattr(cls, "merge", "") != "needed" or isinstance(merged, StaticMerged))


def _maps(cls: type[Metric]) -> bool:
    quantities = cls.produces.quantities().values() if issubclass(cls, WeightMetric) else ()
    return any("row" in q.axes and "index" not in q.axes for q in quantities)


def uses_merge(key: str) -> bool:
    """True for a metric whose numbers are about the merged model, not only about the experts."""
    return getattr(registry()[key], "merge", "unused") in ("needed", "optional")
