"""What the page shows for one panel: its figure (or figures), its words and its data table.

A panel is a module of `viz.panels` with

    TITLE, ABOUT, EMPTY      words: heading, how to read this, what to do when there is nothing
    VIEWS (optional)         {key: label} of alternative pictures of the same data, switched in the browser, or a
                             function of the data and of those options that change them
    figure(data, **options)  a pure function to a `go.Figure`; takes `view=` when it declares VIEWS, and `pinned=`, a
                             `viz.pin.Pin` or None, when it can draw another run's data beside
    rows(data, **options)    the same numbers as (columns, rows); takes those options that change them
    demo()                   an example of `data`

A panel that is not a figure has `html(data, **options)` in place of `figure`, which returns its HTML with its rows.
`draw(module, data)` and `write(module, data)` put them together; `python -m viz.panels.<name>` writes and opens its
demonstration.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from types import ModuleType
from typing import Any

import plotly.graph_objects as go

from . import markup, sheet, theme


@dataclass(frozen=True)
class Drawing:
    """Figures of one panel by view, and the view that is shown first."""

    figures: Mapping[str, go.Figure]
    labels: Mapping[str, str]
    view: str

    @property
    def first(self) -> go.Figure:
        """The figure that is shown first."""
        return self.figures[self.view]

    def to_json(self) -> str:
        """Return what the browser reads: one figure, or several by view."""
        if len(self.figures) == 1:
            return str(self.first.to_json())
        views = ",".join(f"{json.dumps(key)}:{figure.to_json()}" for key, figure in self.figures.items())
        return (
            f'{{"views":{{{views}}},"labels":{json.dumps(dict(self.labels))},"view":{json.dumps(self.view)}}}'
        )


def draw(
    panel: ModuleType,
    data: Any,
    *,
    view: str | None = None,
    selected: Mapping[str, Any] | None = None,
    aside: str = "",
    owner: str = "",
    **options: Any,
) -> Drawing:
    """Return a panel's drawing of `data`, or its empty state when `data` is None or has nothing in it.

    `selected` is the address that every panel outlines, such as {"block": 3, "kind": "q"}. `aside` stands below every
    view. `owner` is put before the title, where the data are not of the run on the page.
    """
    name = panel.__name__.rpartition(".")[2]
    if data is None or (hasattr(data, "__len__") and len(data) == 0):
        return Drawing({"": empty(panel.EMPTY, panel=name, aside=aside)}, {}, "")
    figures, labels = {}, views(panel, data, options)
    for key in labels or {"": panel.TITLE}:
        chosen = {**options, **({"view": key} if key else {})}
        figure = panel.figure(data, **chosen)
        own = {"table": sheet.numbers(panel.rows(data, **_accepted(panel.rows, chosen)))}
        words = {"panel": name, "title": panel.TITLE, "about": panel.ABOUT, **(figure.layout.meta or {})}
        words |= {**({"aside": aside} if aside else {}), **_owned(words, owner)}
        figure.layout.meta = {**words, **own, **({"selected": dict(selected)} if selected else {})}
        figures[key] = figure
    return Drawing(figures, labels, view if view and view in figures else next(iter(figures)))


def write(panel: ModuleType, data: Any, *, aside: str = "", **options: Any) -> str:
    """Return the HTML of a panel that is not a figure, or its empty state; `aside` stands below it."""
    if data is None or (hasattr(data, "__len__") and len(data) == 0):
        name = panel.__name__.rpartition(".")[2]
        found = markup.frame(name, panel.TITLE, "", f'<div class="ms-empty">{escape(panel.EMPTY)}</div>')
    else:
        found = str(panel.html(data, **options))
    return markup.with_aside(found, aside)


def views(panel: ModuleType, data: Any, options: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return the views of a panel by key: its VIEWS, which may depend on the data and on options."""
    declared: Any = getattr(panel, "VIEWS", {})
    found: Any = declared(data, **_accepted(declared, options or {})) if callable(declared) else declared
    return dict(found)


def empty(sentence: str, *, panel: str = "", aside: str = "", height: int = 180) -> go.Figure:
    """Return a figure that says what is missing and what to do."""
    figure = theme.figure(height=height, margin={"t": 8, "b": 8})
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    figure.update_layout(meta={"panel": panel, "empty": sentence, **({"aside": aside} if aside else {})})
    return figure


def _owned(words: Mapping[str, Any], owner: str) -> dict[str, Any]:
    """Return the titles of a figure, and of its moments where it has some, with the owner of the data before them."""
    if not owner:
        return {}
    film = words.get("film")
    moments = {"film": {**film, "titles": [f"{owner}: {title}" for title in film["titles"]]}} if film else {}
    return {"title": f"{owner}: {words['title']}", **moments}


def _accepted(function: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a function takes; a table needs the place of its figure but not the colours."""
    known = inspect.signature(function).parameters
    return {name: value for name, value in options.items() if name in known}
