"""What the visitor chose to see of each panel, as pairs for the session and as a word for its address.

A pair is a panel and one of its views, `spectrum-at` stands for the moment of a film and `route_gallery` for the filter
of the gallery. The browser draws them by itself, and a view that a panel does not have there shows its usual one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from merge_engine.errors import RecipeError

Views = tuple[tuple[str, str], ...]
PANEL = re.compile(r"[a-z_]{1,40}(-at)?")
VIEW = re.compile(r"[^~]{1,100}")
MOST = 60  # panels of a page that are not as usual


def chosen(views: Views, panel: Any, view: Any) -> Views:
    """Return the views with another one for a panel, its usual one for an empty word; RecipeError for anything else."""
    if not (isinstance(panel, str) and PANEL.fullmatch(panel) and isinstance(view, str)):
        raise RecipeError("The page sent a view that it cannot have; reload it.")
    others = tuple(pair for pair in views if pair[0] != panel)
    return _checked((*others, (panel, view)) if view else others)


def to_word(views: Views) -> str:
    """Return views as a word for an address: `spectrum.energy~mask_map-at.5`."""
    return "~".join(f"{panel}.{view}" for panel, view in views)


def from_word(word: str) -> Views:
    """Return the views of a word; whatever in it is none is left out, since nothing hangs on it."""
    pairs = (part.partition(".") for part in word.split("~"))
    return _checked((panel, view) for panel, dot, view in pairs if dot)


def _checked(pairs: Iterable[tuple[str, str]]) -> Views:
    found = {panel: view for panel, view in pairs if PANEL.fullmatch(panel) and VIEW.fullmatch(view)}
    return tuple(found.items())[-MOST:]
