"""The pad on which visitors draw, and which takes the pictures that they bring along.

Its event is `picture`, with {example: task} or {data: data URI or "", fit, paper}; `bare` asks for its value, where it
has come to the page without one. Its value is a JSON string, as the status line's. What the visitor draws stays in the
browser until it is sent, small, a moment after the pen was lifted.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import json
from collections.abc import Mapping
from html import escape
from typing import Any

import gradio as gr
import numpy as np

from merge_engine.errors import DataError, SuiteError, no_such
from merge_engine.suite import load_suite
from merge_engine.suites.outside import LARGEST, picture_of, side_of
from viz.pictures import data_uri

from ..widget import HEAD, Signal, Status, Widget
from .looks import looks

TITLE = "Try an input of your own: draw one, or upload a picture"
ABSENT = "The inputs of this suite are no pictures, so none can be drawn or uploaded here."
MOST_CHARACTERS = 4 * LARGEST // 3 + 100  # of a data URI
STAMPS = itertools.count(1)
TOOLS = (
    ("undo", "Undo", "Take the last stroke back"),
    ("clear", "Clear", "Start again on an empty sheet"),
)
PAD = """<div class="mp-pad"><p class="mp-pad-absent" hidden></p>
<div class="mp-pad-sheet"><canvas role="img" aria-label="Sheet to draw on with mouse, finger or pen. Without one, take
 an example or upload a picture."></canvas><span class="mp-pad-frame"></span></div>
<div class="mp-pad-tools"><span class="mp-tools">{tools}</span>
<label>Draw like <select class="mp-select" data-look></select></label>
<label>Pen <input type="range" data-pen min="1.5" max="8" step="0.5"
 aria-label="Width of the pen, in pixels of 32"></label>
<span class="mp-pad-pair"><label>Example of <select class="mp-select" data-task></select></label>
<span class="mp-tools"><button type="button" data-pad="example"
 title="Put a test picture on the sheet">Take one</button></span></span>
<span class="mp-pad-pair"><label class="mp-pad-file">Upload a picture
<input type="file" accept="image/png,image/jpeg,image/webp"></label>
<label>if not square <select class="mp-select" data-fit><option value="crop">cut to the middle</option>
<option value="pad">keep all of it</option></select></label></span>
<p class="mp-pad-said" role="status" aria-live="polite"></p>
<p class="mp-help">PNG, JPEG or WebP up to {limit} MB; you can also drop or paste one. It stays in this machine's
memory: it is not saved to disk and not part of the link.</p></div></div>"""


class Pad(gr.HTML):
    """The sheet and its tools; the events are `picture` and `bare`."""

    def __init__(self, value: str = "", **settings: Any) -> None:
        tools = "".join(
            f'<button type="button" data-pad="{act}" title="{escape(title)}">{word}</button>'
            for act, word, title in TOOLS
        )
        super().__init__(
            value=value,
            html_template=PAD.format(tools=tools, limit=LARGEST >> 20),
            js_on_load="MergePad.mount(element, props, trigger, watch); /* 'picture' 'bare' */",
            head=HEAD + '<script src="gradio_api/file=assets/js/pad.js"></script>',
            apply_default_css=False,
            **settings,
        )


def yours_parts() -> dict[str, Any]:
    """Create the components of a visitor's own picture, folded together until they are wanted."""
    parts: dict[str, Any] = {"yours": Signal(tab="inputs", elem_id="mp-yours-mark")}
    with gr.Accordion(TITLE, open=False, elem_id="mp-yours"):
        with gr.Row(elem_id="mp-yours-row", equal_height=False):
            with gr.Column(elem_id="mp-yours-pad", min_width=280):
                parts["pad"] = Pad(elem_id="mp-pad")
            with gr.Column(elem_id="mp-yours-says", min_width=280):
                parts["replies"] = Widget(elem_id="mp-replies", elem_classes="mp-result")
                parts["replying"] = Status(elem_id="mp-replying")
        parts["yours_why"] = Widget(elem_id="mp-yours-why", elem_classes="mp-result")
    return parts


def pad_value(suite: str, *, picture: np.ndarray | None = None, said: str = "", bad: bool = False) -> str:
    """Return the value of the pad for a suite: how to draw for it, and a `picture` to put on the sheet, if any."""
    loaded = load_suite(suite)
    side = side_of(loaded)
    if side is None:
        return json.dumps({"suite": suite, "absent": ABSENT})
    drawn = [{"words": look.words, **{k: getattr(look, k) for k in ("paper", "ink", "pen", "frame")}}
             for look in looks(suite)]  # fmt: skip
    put = {"picture": data_uri(picture), "stamp": next(STAMPS)} if picture is not None else {}
    return json.dumps({"suite": suite, "side": side, "looks": drawn, "tasks": list(loaded.tasks), "said": said,
                       "bad": bad, **put})  # fmt: skip


def received(suite: str, words: Mapping[str, Any]) -> np.ndarray | None:
    """Return the picture that the browser sent, None for an empty sheet; raises MergeError for anything else."""
    side, data = side_of(load_suite(suite)), words.get("data")
    if side is None:
        raise SuiteError(ABSENT)
    if not isinstance(data, str):
        raise DataError("The page sent no picture; draw one, or choose a file.")
    if not data:
        return None
    paper = words.get("paper")
    return picture_of(_bytes(data), side, fit=str(words.get("fit", "crop")), paper=0 if paper == 0 else 255)


def example(suite: str, task: Any, number: int) -> np.ndarray:
    """Return a test picture of a task by any `number`, which goes round; raises SuiteError for an unknown task."""
    loaded = load_suite(suite)
    if not isinstance(task, str) or task not in loaded.tasks:
        raise SuiteError(no_such(f"task in suite {suite}", str(task)[:80], loaded.tasks))
    pictures = loaded.pictures(task, "score")
    return pictures[number % len(pictures)]


def _bytes(data: str) -> bytes:
    """Return the bytes of a data URI; what it calls itself is not believed."""
    if len(data) > MOST_CHARACTERS:
        raise DataError(f"The file has more than {LARGEST >> 20} MB; choose a smaller one.")
    head, _, body = data.partition(",")
    try:
        if not (head.startswith("data:") and head.endswith(";base64")):
            raise ValueError
        return base64.b64decode(body, validate=True)
    except (ValueError, binascii.Error):
        raise DataError("The page sent something that is no picture; choose another file.") from None
