"""A Plotly figure on a Gradio page that keeps its node, its zoom and its memory, and answers clicks.

    gr.set_static_paths(STATIC)                      # once, before Blocks; run from the repository root
    with gr.Blocks() as demo:
        with gr.Column(min_width=320):               # the panel itself ignores scale and min_width
            bars = PlotlyPanel.of(accuracy, height=340)
        bars.select(on_select, None, [other], show_progress="hidden", show_progress_on=[], queue=False)

    def on_select(event: gr.EventData):
        where = Selection.of(event)                  # .panel .view .block .kind .expert .other .task .x .y .z .id .ids
        return draw(spectrum, ...)                   # a viz.panel.Drawing, a plotly Figure or None (empty state)

The event is `select`: click, tap, Enter, or points that were enclosed. Never list a panel as an input of an event: its
whole figure would travel back; use the event's data. Show no progress on a panel, as above: Gradio would copy it each
time. Hover marks, views and the outline of the selected block stay in the browser.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from types import ModuleType
from typing import Any

import gradio as gr

from viz import markup

STATIC = ["assets/js", "assets/css", "assets/fonts", "assets/vendor"]
# Relative addresses work on every route and behind a proxy's path.
_HEAD = markup.head("gradio_api/file=")
# The words are written into the code and the skeleton, since Gradio empties the `props` of an HTML component that is
# not on the page yet when an event leaves it as it is.
_MOUNT = """MergeScope.mount(element, {{...{words}, get value() {{ return props.value; }}}}, trigger, watch);
/* 'select' */"""


class PlotlyPanel(gr.HTML):
    """One figure with its heading, tools, keyboard and data table; its value is a Drawing, a Figure or None."""

    def __init__(
        self,
        value: Any = None,
        *,
        panel: str,
        title: str = "",
        about: str = "",
        empty: str = "",
        aria: str = "",
        height: int = 320,
        **kwargs: Any,
    ) -> None:
        words = {"panel": panel, "title": title, "about": about, "empty": empty, "height": height}
        aria = aria or f"{title}. Arrow keys move, Enter selects."
        super().__init__(
            value=value,
            html_template=markup.fill(panel=panel, title=title, aria=aria, height=height),
            js_on_load=_MOUNT.format(words=json.dumps(words)),
            head=_HEAD,
            apply_default_css=False,
            **kwargs,
        )
        # Gradio reads every parameter back for the page; one that is not found is a costly stand-in.
        vars(self).update(words, aria=aria)

    @classmethod
    def of(cls, module: ModuleType, value: Any = None, **kwargs: Any) -> PlotlyPanel:
        """Return the component of a panel module, with its words."""
        name = module.__name__.rpartition(".")[2]
        return cls(value, panel=name, title=module.TITLE, about=module.ABOUT, empty=module.EMPTY, **kwargs)

    def postprocess(self, value: Any) -> str | None:
        """Return the figure as a JSON string, which Gradio compares and keeps cheaply."""
        return value.to_json() if hasattr(value, "to_json") else value

    def api_info(self) -> dict[str, Any]:
        return {"type": "string", "description": "Plotly figure, or figures by view, as JSON"}


@dataclass(frozen=True)
class Selection:
    """What was clicked, checked: whatever a browser sends that is not of the right type is None."""

    panel: str | None = None
    view: str | None = None
    block: int | None = None
    kind: str | None = None
    expert: str | None = None
    other: str | None = None
    task: str | None = None
    method: str | None = None
    x: str | float | None = None
    y: str | float | None = None
    z: float | None = None
    id: int | None = None
    ids: tuple[int, ...] | None = None

    @classmethod
    def of(cls, event: gr.EventData) -> Selection:
        """Read an event's data; names still have to be looked up by the caller."""
        data = event._data if isinstance(event._data, dict) else {}
        return cls(**{field.name: _checked(field.name, data.get(field.name)) for field in fields(cls)})


def _checked(name: str, value: Any) -> Any:
    if isinstance(value, bool):
        return None
    if name == "ids":
        return tuple(v for v in value if isinstance(v, int)) if isinstance(value, list) else None
    if name in {"block", "id"}:
        return value if isinstance(value, int) and value >= 0 else None
    if name in {"x", "y"}:
        return value if isinstance(value, int | float) else _word(value)
    if name == "z":
        return float(value) if isinstance(value, int | float) else None
    return _word(value)


def _word(value: Any) -> str | None:
    return value if isinstance(value, str) and len(value) <= 200 else None
