"""Test inputs as thumbnails, each with the expert it was sent to and whether that was right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

import numpy as np

from viz import markup, theme
from viz.pictures import data_uri

TITLE = "Inputs and their routes"
ABOUT = "Below each test input stands the expert that the router chose. Choose an input to see why."
EMPTY = "No input was routed yet. Merge with a method that chooses an expert for every input, then score it."
STATES = {
    "route": ("✗", "wrong route"),
    "class": ("!", "right route, wrong class"),
    "right": ("✓", "right"),
    "none": ("–", "no expert for its task"),
}


@dataclass(frozen=True, eq=False)
class RoutedInput:
    """One input: `index` is its place in its task's split, `picture` uint8 (h, w) or (h, w, 3), or a text.

    `label` is its class, `picked` the expert chosen for it and `guess` the class predicted with that expert.
    """

    task: str
    index: int
    picture: np.ndarray | str
    label: str
    picked: str
    guess: str

    @property
    def key(self) -> str:
        """What the page reports when the input is chosen: `digits:12`."""
        return f"{self.task}:{self.index}"


@dataclass(frozen=True, eq=False)
class Gallery:
    """Inputs in the order of the page, the experts they could go to, and the name of the router."""

    experts: tuple[str, ...]
    inputs: tuple[RoutedInput, ...]
    router: str = ""

    def __len__(self) -> int:
        return len(self.inputs)


def html(data: Gallery, *, selected: str = "", colors: Mapping[str, str] | None = None) -> str:
    """Return filters and thumbnails; `selected` is the key of the chosen input, `colors` are those of the experts."""
    colors = colors or theme.colors(data.experts)
    found = Counter(state(data, one) for one in data.inputs)
    thumbs = "".join(_thumb(data, one, one.key == selected, colors) for one in data.inputs)
    inner = (
        f'{_filters(found)}<div class="ms-thumbs" role="radiogroup" aria-label="Inputs" tabindex="-1">{thumbs}</div>'
    )
    judged = len(data.inputs) - found["none"]
    right = f", {judged - found['route']} of {judged} sent right" if judged else ""
    about = f"{data.router} chooses. {ABOUT}" if data.router else ABOUT
    return markup.frame("route_gallery", f"{TITLE}{right}", about, inner)


def state(data: Gallery, one: RoutedInput) -> str:
    """Return how an input fared: `route`, `class`, `right`, or `none` where its task has no expert."""
    if one.task not in data.experts:
        return "none"
    return "route" if one.picked != one.task else "right" if one.guess == one.label else "class"


def badge(which: str) -> str:
    """Return the mark of a state: shape, sign and colour all differ."""
    return f'<span class="ms-badge" data-state="{which}" aria-hidden="true">{STATES[which][0]}</span>'


def picture(shown: np.ndarray | str, said: str, size: int) -> str:
    """Return a picture with its description, or the words of a text."""
    if isinstance(shown, str):
        return f'<span class="ms-text">{escape(theme.short(shown, size))}</span>'
    return f'<img src="{data_uri(shown)}" alt="{escape(said, quote=True)}" width="{size}" height="{size}">'


def _filters(found: Mapping[str, int]) -> str:
    """Return the legend, which is also the choice of what to show; it works in the browser alone."""
    words = {"all": ("", "all"), **STATES}
    counts = {"all": sum(found.values()), **found}
    choices = "".join(
        f'<label><input type="radio" name="ms-show" value="{which}"{" checked" if which == "all" else ""}>'
        f"{badge(which) if which in STATES else ''}{said} <b>{counts[which]:,}</b></label>"
        for which, (_, said) in words.items()
        if counts.get(which)
    )
    return f'<div class="ms-filters" role="radiogroup" aria-label="Show">{choices}</div>'


def _thumb(data: Gallery, one: RoutedInput, chosen: bool, colors: Mapping[str, str]) -> str:
    which = state(data, one)
    said = f"{one.task}, {one.label}: sent to {one.picked}, {STATES[which][1]}"
    return (
        f'<label class="ms-thumb" data-state="{which}" title="{escape(said, quote=True)}">'
        f'<input type="radio" name="ms-input" data-emit="input" value="{escape(one.key, quote=True)}"'
        f"{' checked' if chosen else ''}>{picture(one.picture, said, 56)}{badge(which)}"
        f'<span class="ms-sent" aria-hidden="true"><i style="background:{colors.get(one.picked, theme.MUTED)}"></i>'
        f"{escape(theme.short(one.picked, 9))}</span></label>"
    )


def demo() -> Gallery:
    from viz.examples import gallery

    return gallery()


if __name__ == "__main__":
    from viz.demo import show

    show("route_gallery")
