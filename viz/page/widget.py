"""A piece of the page whose HTML is made here and whose inputs report back.

Inside the HTML, an element with `data-emit="act"` fires the event `act` with {act, value, values, …data attributes}
when it changes or is pressed; one that also has `data-live` fires `live` too. Nothing arriving is trusted.
Where an element's `data-drawn` changes, every box and menu of the widget shows what the HTML says, whatever was typed.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

SCRIPTS = ("queue", "views", "address", "page", "signals", "card")
HEAD = "".join(f'<script src="gradio_api/file=assets/js/{name}.js"></script>' for name in SCRIPTS)
STATUS = (
    '<div class="mp-status"><span class="mp-said"></span>'
    '<progress class="mp-bar" aria-label="Progress" hidden></progress>'
    '<span class="mp-hidden" role="status" aria-live="polite"></span></div>'
)


class Widget(gr.HTML):
    """HTML with reporting inputs; the events are `act` and `live`."""

    def __init__(self, value: str = "", **settings: Any) -> None:
        super().__init__(
            value=value,
            js_on_load="MergePage.mount(element, trigger, watch); /* 'act' 'live' */",
            head=HEAD,
            apply_default_css=False,
            **settings,
        )


class Link(gr.HTML):
    """Keeps the address bar in step with the session, copies it, and reports with `act` when one goes back in it."""

    def __init__(self, value: str = "", **settings: Any) -> None:
        super().__init__(
            value=value,
            js_on_load="MergePage.mount(element, trigger, watch); "
            "MergeAddress.follow(element, trigger, watch); /* 'act' */",
            head=HEAD,
            apply_default_css=False,
            **settings,
        )


def said(event: gr.EventData) -> dict[str, Any]:
    """Return the data of an event as a dictionary, whatever came."""
    data: Any = getattr(event, "_data", None)
    return {**data} if isinstance(data, dict) else {}


class Signal(gr.HTML):
    """A hidden word; when it changes, wherever the change came from, the event `turn` fires.

    Where a `tab` is named by its id, it fires once that tab is open: nothing is drawn where nobody looks. The `change`
    event of a State is only sent by listeners that wait in the queue, so it cannot do this.
    """

    def __init__(self, value: str = "", tab: str = "", **settings: Any) -> None:
        super().__init__(
            value=value,
            html_template="<span hidden></span>",
            js_on_load="MergeSignals.turn(props, trigger, watch); /* 'turn' */",
            elem_classes="mp-signal",
            head=HEAD,
            apply_default_css=False,
            tab=tab,
            **settings,
        )
        self.tab = tab  # Gradio reads every parameter back for the page


class OpenTab(gr.HTML):
    """A hidden word; when it changes, an event with the name of the open tab fires: others are filled when opened.

    No event may be called `inputs` alone: that is a setting of every component, and Gradio would copy the listener,
    with all that hangs on it, into each page that it serves.
    """

    def __init__(self, value: str = "", **settings: Any) -> None:
        super().__init__(
            value=value,
            html_template="<span hidden></span>",
            js_on_load="MergeSignals.among(props, trigger, watch); /* 'on_sweep' 'on_inputs' 'on_landscape' */",
            elem_classes="mp-signal",
            head=HEAD,
            apply_default_css=False,
            **settings,
        )


class Status(gr.HTML):
    """The line that says what happens: words, a bar, and an announcement for screen readers at most every 3 s."""

    def __init__(self, value: str = "", **settings: Any) -> None:
        super().__init__(
            value=value,
            html_template=STATUS,
            js_on_load="MergePage.status(element, props, watch);",
            head=HEAD,
            apply_default_css=False,
            **settings,
        )
