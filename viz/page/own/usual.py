"""How far inputs usually are from what routers know, so that a strange picture is recognised. Knows no Gradio."""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping

import numpy as np

from merge_engine.routers import Fitted
from merge_engine.routing.routed import FittedRouter
from viz.panels.route_input import InputView

from ..inputs.case import nearness

KEPT = 8  # sets of experts, and merges with a router of their own
STRANGE = 95.0  # percent of the support inputs that lie nearer to a task than a strange picture


class Usual:
    """Distances (N,) of support inputs to the task nearest to them, each left out of the fit, by the router's title."""

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, Mapping[str, np.ndarray]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, key: Hashable, routers: Mapping[str, FittedRouter]) -> Mapping[str, np.ndarray]:
        """Return the distances, ascending, under those routers by title that are fitted to support features.

        Measured once for a `key`.
        """
        with self._lock:
            if key not in self._known:
                fitted = {title: router for title, router in routers.items() if isinstance(router, Fitted)}
                self._known[key] = {title: usual(router) for title, router in fitted.items()}
                while len(self._known) > KEPT:
                    self._known.popitem(last=False)
            return self._known[key]


def usual(fitted: Fitted) -> np.ndarray:
    """Return how far (N,) support inputs are from the task nearest to them when left out of the fit, ascending."""
    return np.sort(fitted.usual(nearness).double().numpy(force=True))


def farther(distance: float, known: np.ndarray) -> float:
    """Return the share in percent of `known` distances that are smaller than this one."""
    return 100 * float(np.mean(known < distance))


def compared(view: InputView, known: Mapping[str, np.ndarray]) -> InputView:
    """Return the view with every router's distance to its nearest task compared with what is usual."""
    return dataclasses.replace(view, routers=tuple(
        dataclasses.replace(card, farther=farther(float(np.min(card.values)), known[card.router]))
        if card.router in known else card
        for card in view.routers
    ))  # fmt: skip

