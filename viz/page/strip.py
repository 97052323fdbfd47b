"""The strip of experts: toggles with a few pictures of the task and how good the expert is alone."""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape

import numpy as np

from merge_engine.suite import Suite, load_suite
from viz import theme

SHOWN = 5  # pictures of a task on its toggle


@dataclass(frozen=True)
class ExpertCard:
    """What one toggle shows; `accuracy` in percent where it is known."""

    name: str
    title: str
    color: str
    pictures: str
    accuracy: float | None


def expert_cards(suite: Suite, accuracy: dict[str, float]) -> list[ExpertCard]:
    """Return a card for every expert that is there, in the order of the suite."""
    colors = theme.colors(suite.task_of)
    return [
        ExpertCard(name, suite.task(suite.task_of[name]).title, colors[name],
                   picture_sheet(suite.name, suite.task_of[name]), accuracy.get(name))
        for name in suite.experts
    ]  # fmt: skip


@lru_cache(maxsize=64)
def picture_sheet(suite: str, task: str, count: int = SHOWN) -> str:
    """Return a few support pictures of a task side by side, as the data URI of a PNG."""
    from PIL import Image

    pictures = load_suite(suite).pictures(task, "support")
    chosen = pictures[np.linspace(0, len(pictures) - 1, min(count, len(pictures))).round().astype(int)]
    sheet = np.concatenate(list(chosen), axis=1)
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def strip(cards: Sequence[ExpertCard], chosen: Collection[str], drawn: int = 0) -> str:
    """Return the strip as HTML: a group of check boxes, with buttons for all and none."""
    boxes = "".join(_toggle(card, card.name in chosen) for card in cards)
    return (
        f'<div class="mp-experts" role="group" aria-labelledby="mp-experts-head" data-group data-drawn="{drawn}">'
        '<div class="mp-pick"><span class="mp-heading" id="mp-experts-head">Experts</span>'
        '<span class="mp-tools"><button type="button" data-check="all">all</button>'
        '<button type="button" data-check="none">none</button></span></div>'
        f'<div class="mp-toggles">{boxes}</div></div>'
    )


def missing(suite: Suite) -> str:
    """Return what to do about experts that the suite declares but does not have; empty when all are there."""
    if not suite.missing_experts:
        return ""
    what = "has no experts yet" if not suite.experts else f"lacks the experts {', '.join(suite.missing_experts)}"
    return (
        f'<p class="mp-notice">This suite {escape(what)}. Make them with '
        f"<code>python -m merge_engine train {escape(suite.name)}</code>, then reload this page.</p>"
    )


def _toggle(card: ExpertCard, on: bool) -> str:
    accuracy = f'<span class="mp-own">{card.accuracy:.0f} %</span>' if card.accuracy is not None else ""
    return (
        f'<label class="mp-toggle" style="--expert:{card.color}" title="{escape(card.title, quote=True)}">'
        f'<input type="checkbox" data-emit="experts" value="{escape(card.name, quote=True)}"{" checked" if on else ""}>'
        f'<img src="{card.pictures}" alt="" width="160" height="32">'
        f'<span class="mp-toggle-words"><span class="mp-dot"></span><span class="mp-name">{escape(card.name)}</span>'
        f"{accuracy}</span></label>"
    )
