"""Test inputs that one of two runs has right and the other wrong, as thumbnails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from viz import markup, theme
from viz.panels.route_gallery import badge, picture

TITLE = "Which inputs differ"
ABOUT = "Below each input stands what the run that is wrong said. Choose an input to open it in the tab Inputs."
EMPTY = "No input to show: pin two runs that differ."


@dataclass(frozen=True, eq=False)
class DifferingInput:
    """One input: `index` is its place in its task's split, `picture` uint8 (h, w) or (h, w, 3), or a text.

    `label` is its class, `wrong` what the run that is wrong said: a class, or the expert it sent the input to.
    """

    task: str
    index: int
    picture: np.ndarray | str
    label: str
    wrong: str

    @property
    def key(self) -> str:
        """What the page reports when the input is chosen: `digits:12`."""
        return f"{self.task}:{self.index}"


@dataclass(frozen=True, eq=False)
class Differing:
    """Inputs that only A, or only B, has right; `of_a` and `of_b` count those there are to choose from."""

    only_a: tuple[DifferingInput, ...]
    only_b: tuple[DifferingInput, ...]
    of_a: int
    of_b: int

    def __len__(self) -> int:
        return len(self.only_a) + len(self.only_b)


def html(data: Differing, *, selected: str = "", colors: Mapping[str, str] | None = None) -> str:
    """Return both groups of thumbnails; `selected` is the key of the chosen input, `colors` are those of the tasks."""
    colors = colors or theme.colors(dict.fromkeys(one.task for one in (*data.only_a, *data.only_b)))
    groups = [
        _group("A", "B", data.only_a, data.of_a, selected, colors),
        _group("B", "A", data.only_b, data.of_b, selected, colors),
    ]
    return markup.frame("differing", TITLE, ABOUT, f'<div class="ms-differing">{"".join(groups)}</div>', rows(data))


def rows(data: Differing) -> tuple[list[str], list[list]]:
    """Return one line per input that is shown."""
    sides = (("A", data.only_a), ("B", data.only_b))
    return ["right", "task", "input", "class", "the other one said"], [
        [right, one.task, one.index, one.label, one.wrong] for right, inputs in sides for one in inputs
    ]


def _group(
    right: str, wrong: str, inputs: Sequence[DifferingInput], of: int, selected: str, colors: Mapping[str, str]
) -> str:
    few = f", {len(inputs):,} shown" if of > len(inputs) else ""
    thumbs = "".join(_thumb(one, right, wrong, one.key == selected, colors) for one in inputs)
    body = f'<div class="ms-thumbs">{thumbs}</div>' if inputs else '<p class="ms-about">None.</p>'
    return (
        f'<div class="ms-gallery" role="group" aria-label="Only {right} is right"><div class="ms-group">'
        f"<h4>{badge('right')}{right} right, {wrong} wrong: {of:,}{few}</h4>{body}</div></div>"
    )


def _thumb(one: DifferingInput, right: str, wrong: str, chosen: bool, colors: Mapping[str, str]) -> str:
    said = f"{one.task}, {one.label}: {right} is right, {wrong}: {one.wrong}"
    return (
        f'<button type="button" class="ms-thumb" data-emit="input" value="{escape(one.key, quote=True)}" '
        f'title="{escape(said, quote=True)}"{" data-chosen" if chosen else ""}>{picture(one.picture, said, 56)}'
        f'<span class="ms-sent" aria-hidden="true"><i style="background:{colors.get(one.task, theme.MUTED)}"></i>'
        f"{escape(theme.short(one.wrong, 9))}</span></button>"
    )


def demo() -> Differing:
    from viz.examples import gallery

    inputs = [
        DifferingInput(one.task, one.index, one.picture, one.label, one.picked) for one in gallery().inputs[:20]
    ]
    return Differing(tuple(inputs[:8]), tuple(inputs[8:]), 8, 31)


if __name__ == "__main__":
    from viz.demo import show

    show("differing")
