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
EMPTY = "No single inputs yet. Press Merge to see what the merged model makes of each."
PLAIN = "Inputs and their predictions"
UNSENT = "Below each test input stands the class that the merged model predicts. Choose an input to see more of it."
LARGE = 100  # pixels from which a picture is shown as it is
STATES = {
    "route": ("✗", "wrong route"),
    "class": ("!", "right route, wrong class"),
    "right": ("✓", "right"),
    "none": ("–", "no expert for its task"),
}


@dataclass(frozen=True, eq=False)
class RoutedInput:
    """One input: `index` is its place in its task's split, `picture` uint8 (h, w) or (h, w, 3), or a text.

    `label` is its class, `picked` the expert chosen for it, empty where none is, and `guess` the class predicted.
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
    """Inputs, the experts they could go to, and the name of the router; `of` counts those there are to choose from."""

    experts: tuple[str, ...]
    inputs: tuple[RoutedInput, ...]
    router: str = ""
    of: int = 0

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def sent(self) -> bool:
        """True when inputs were sent to experts."""
        return any(one.picked for one in self.inputs)


def html(data: Gallery, *, selected: str = "", colors: Mapping[str, str] | None = None) -> str:
    """Return filters and thumbnails; `selected` is the key of the chosen input, `colors` are those of the experts."""
    colors = colors or theme.colors(data.experts)
    found = Counter(state(data, one) for one in data.inputs)
    tasks = dict.fromkeys(one.task for one in data.inputs)
    groups = "".join(_group(data, task, selected, colors, len(tasks) > 1) for task in tasks)
    few = f"{len(data):,} of {data.of:,} inputs are shown. " if data.of > len(data) else ""
    inner = (
        f'{_filters(data, found)}<div class="ms-gallery" role="radiogroup" aria-label="Inputs" tabindex="-1" '
        f'data-drawn="{escape(selected, quote=True)}">'
        f"{groups}</div>"
    )
    chooses = f"{data.router} chooses. {ABOUT}" if data.router else ABOUT
    about = chooses if data.sent else f"{data.router}: {UNSENT[0].lower()}{UNSENT[1:]}" if data.router else UNSENT
    return markup.frame("route_gallery", _title(data, found), f"{few}{about}", inner, rows(data))


def rows(data: Gallery) -> tuple[list[str], list[list]]:
    """Return one line per input that is shown."""
    sent = ["sent to"] if data.sent else []
    return ["task", "input", "class", *sent, "predicted", "outcome"], [
        [one.task, one.index, one.label, *([one.picked] if sent else []), one.guess, words(data, state(data, one))]
        for one in data.inputs
    ]


def state(data: Gallery, one: RoutedInput) -> str:
    """Return how an input fared: `route`, `class`, `right`, or `none` where it was sent but its task has no expert."""
    if one.picked and one.task not in data.experts:
        return "none"
    if one.picked and one.picked != one.task:
        return "route"
    return "right" if one.guess == one.label else "class"


def words(data: Gallery, which: str) -> str:
    """Return the words of a state; without routes a wrong class is just that."""
    return "wrong class" if which == "class" and not data.sent else STATES[which][1]


def badge(which: str) -> str:
    """Return the mark of a state: shape, sign and colour all differ."""
    return f'<span class="ms-badge" data-state="{which}" aria-hidden="true">{STATES[which][0]}</span>'


def picture(shown: np.ndarray | str, said: str, size: int) -> str:
    """Return a picture with its description, or the words of a text."""
    if isinstance(shown, str):
        return f'<span class="ms-text">{escape(theme.short(shown, size))}</span>'
    source = data_uri(shown, small=size < LARGE)
    return f'<img src="{source}" alt="{escape(said, quote=True)}" width="{size}" height="{size}">'


def _title(data: Gallery, found: Mapping[str, int]) -> str:
    if not data.sent:
        return f"{PLAIN}, {found['right']} of {len(data)} right"
    judged = len(data) - found["none"]
    return f"{TITLE}, {judged - found['route']} of {judged} sent right" if judged else TITLE


def _filters(data: Gallery, found: Mapping[str, int]) -> str:
    """Return the legend, which is also the choice of what to show; it works in the browser alone."""
    said = {"all": "all", **{which: words(data, which) for which in STATES}}
    counts = {"all": sum(found.values()), **found}
    choices = "".join(
        f'<label><input type="radio" name="ms-show" value="{which}"{" checked" if which == "all" else ""}>'
        f"{badge(which) if which in STATES else ''}{word} <b>{counts[which]:,}</b></label>"
        for which, word in said.items()
        if counts.get(which)
    )
    return f'<div class="ms-filters" role="radiogroup" aria-label="Show">{choices}</div>'


def _group(data: Gallery, task: str, selected: str, colors: Mapping[str, str], named: bool) -> str:
    """Return the thumbnails of one task, under its name where there are several."""
    own = [one for one in data.inputs if one.task == task]
    thumbs = "".join(_thumb(data, one, one.key == selected, colors) for one in own)
    name = f'<h4><i style="background:{colors.get(task, theme.MUTED)}"></i>{escape(task)}</h4>' if named else ""
    return f'<div class="ms-group">{name}<div class="ms-thumbs">{thumbs}</div></div>'


def _thumb(data: Gallery, one: RoutedInput, chosen: bool, colors: Mapping[str, str]) -> str:
    which = state(data, one)
    done = f"sent to {one.picked}" if one.picked else f"predicted {one.guess}"
    said = f"{one.task}, {one.label}: {done}, {words(data, which)}"
    dot = f'<i style="background:{colors.get(one.picked, theme.MUTED)}"></i>' if one.picked else ""
    below = escape(theme.short(one.picked or one.guess, 9))
    return (
        f'<label class="ms-thumb" data-state="{which}" title="{escape(said, quote=True)}">'
        f'<input type="radio" name="ms-input" data-emit="input" value="{escape(one.key, quote=True)}"'
        f"{' checked' if chosen else ''}>{picture(one.picture, said, 56)}{badge(which)}"
        f'<span class="ms-sent" aria-hidden="true">{dot}{below}</span></label>'
    )


def demo() -> Gallery:
    from viz.examples import gallery

    return gallery()


if __name__ == "__main__":
    from viz.demo import show

    show("route_gallery")
