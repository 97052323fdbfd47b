"""What stands on the page from its first byte until Gradio has built it: the stored answer, drawn without a script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go

from merge_engine.runs.run import own_tasks
from merge_engine.suite import load_suite
from viz import markup, theme
from viz.panels import accuracy
from viz.panels.accuracy import TaskAccuracy

from . import session as state
from . import view
from .colors import task_colors
from .layout import BRAND
from .record import Run
from .session import Session
from .workbench import Workbench

ASSETS = Path(__file__).resolve().parents[2] / "assets"
STYLES = ("tokens", "page", "panel", "opening")
FILES = "gradio_api/file="
WAITING = '<p class="mo-said">Opening …</p>'
STORED = "A stored result. The controls follow in a moment."
FAR = 0.36  # from the middle of a diverging scale, where letters take the colour of the page
SCALES = (("div", theme.DIVERGING), ("seq", theme.SEQUENTIAL))


class Opening:
    """The opening as far as it is drawn; before anything is, the name of the page."""

    def __init__(self) -> None:
        self.body = ""

    def draw(self, bench: Workbench, session: Session, interference: go.Figure | None = None) -> None:
        """Draw the stored answer that a session opens with, and what was measured of its weights."""
        run = bench.record.known(state.recipe(session))
        if run is not None:
            self.body = _desk(bench, session, run, interference)

    def head(self) -> str:
        """Return the tags that have letters and scripts fetched before anything asks for them."""
        styles = f'<link rel="stylesheet" href="{FILES}assets/css/fonts.css">'
        return markup.letters(FILES) + styles + markup.preload(FILES)

    def html(self) -> str:
        """Return the opening with its style and the script that takes it away."""
        before, after = _frame()
        return f"{before}{self.body}{after}"


@cache
def _frame() -> tuple[str, str]:
    """Return what stands before and after the body, read once for all requests."""
    style = "\n".join((ASSETS / f"css/{name}.css").read_text(encoding="utf-8") for name in STYLES)
    script = (ASSETS / "js/opening.js").read_text(encoding="utf-8")
    brand = f'<div class="mo-brand">{BRAND}</div>'
    return f'<div id="ms-opening" inert><style>{style}</style>{brand}{WAITING}', f"</div><script>{script}</script>"


def _desk(bench: Workbench, session: Session, run: Run, interference: go.Figure | None) -> str:
    suite = load_suite(session.suite)
    lines = view.accuracy_data(suite, run, [*own_tasks(suite, run.recipe)], bench.record.baselines(session.suite), {})
    panels = _panel(accuracy.TITLE, accuracy.ABOUT, dots(lines, task_colors(suite)))
    if interference is not None:
        words = theme.drawn(interference).meta
        panels += _panel(words["title"], words["about"], cells(interference))
    experts = view.expert_strip(bench, session).replace(' id="mp-experts-head"', "")
    title = escape(run.recipe.build()[0].title)
    return (
        f'<div class="mo-desk"><div class="mo-left">{experts}<b class="mo-method">{title}</b></div>'
        f'<div class="mo-right">{view.headline_part(bench, session, run)[0]}'
        f'<p class="mo-stored">{STORED}</p><div class="mo-panels">{panels}</div></div></div>'
    )


def dots(data: Sequence[TaskAccuracy], colors: Mapping[str, str]) -> str:
    """Return accuracy per task as the panel draws it, in HTML: the average first, then a line per task."""
    lines = (_line(score, colors.get(score.task, theme.MUTED)) for score in (accuracy.average(data), *data))
    return f'<div class="mo-lines">{"".join(lines)}</div>'


def cells(figure: go.Figure) -> str:
    """Return the first heat map of a figure in HTML, each cell in its colour and with its number."""
    drawn: Any = figure.data[0]
    z = np.asarray(drawn.z, float)
    share = (z - drawn.zmin) / ((drawn.zmax - drawn.zmin) or 1)
    scale = next(name for name, colors in SCALES if [list(stop) for stop in drawn.colorscale] == colors)
    text = np.full(z.shape, "") if drawn.text is None else drawn.text
    head = "".join(f"<th>{escape(theme.short(str(name), 8))}</th>" for name in drawn.x)
    lines = []
    for name, shares, words in zip(drawn.y, share, text, strict=True):
        line = "".join(_cell(value, word, scale) for value, word in zip(shares, words, strict=True))
        lines.append(f"<tr><th>{escape(str(name))}</th>{line}</tr>")
    return f'<table class="mo-cells"><tr><th></th>{head}</tr>{"".join(lines)}</table>'


def _cell(share: float, text: str, scale: str) -> str:
    """Return a cell in the colour at a share of its scale, whose steps are mixed as in a figure."""
    if not np.isfinite(share):
        return "<td></td>"
    step = min(max(share, 0.0), 1.0) * 8
    low = min(int(step), 7)
    mix = f"color-mix(in srgb, var(--ms-{scale}-{low + 1}) {100 * (step - low):.0f}%, var(--ms-{scale}-{low}))"
    far = abs(share - 0.5) > FAR if scale == "div" else share > 0.5
    return f'<td style="background:{mix}"{" class=mo-far" if far else ""}>{escape(str(text))}</td>'


def _line(score: TaskAccuracy, color: str) -> str:
    before, merged, alone = score.pretrained, score.merged, score.expert
    known = [value for value in (before, merged, alone) if value is not None]
    marks = [_span("mo-track-line", min(known), max(known))] if known else []
    if before is not None and merged is not None:
        marks.append(_span("mo-gain", min(before, merged), max(before, merged)))
    if score.interval:
        marks.append(_span("mo-whisker", *score.interval))
    named = (("mo-ring", before, ""), ("mo-own", alone, f";--expert:{color}"), ("mo-dot", merged, ""))
    marks += [f'<i class="{kind}" style="left:{_at(v)}{more}"></i>' for kind, v, more in named if v is not None]
    number = "" if merged is None else f"{merged:.1f}"
    track = f'<span class="mo-track">{"".join(marks)}</span>'
    kind = "mo-line" if score.seen else "mo-line mo-unseen"
    return f'<div class="{kind}"><span>{escape(score.title or score.task)}</span>{track}<b>{number}</b></div>'


def _span(kind: str, start: float, end: float) -> str:
    return f'<i class="{kind}" style="left:{_at(start)};width:{_at(end - start)}"></i>'


def _at(percent: float) -> str:
    return f"{100 * percent / accuracy.EDGE:.2f}%"


def _panel(title: str, about: str, inner: str) -> str:
    return (
        f'<section class="ms-panel"><div class="ms-head"><h3>{escape(title)}</h3></div>'
        f'<p class="ms-about">{escape(about)}</p>{inner}</section>'
    )
