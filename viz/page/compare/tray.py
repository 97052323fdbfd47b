"""The pinned runs at the foot of every tab, and in a sentence what panels show of them."""

from __future__ import annotations

from functools import partial
from html import escape

from ..record import Run
from ..session import Session
from .beside import Beside
from .comparison import of_suite, pins_of, recipe_at
from .visit import described

SWAP = (
    '<button type="button" class="mp-copy" data-emit="swap" aria-label="Exchange A and B">⇄ '
    "<span>exchange A and B</span></button>"
)


def tray_parts(session: Session, run: Run | None, pinned: Beside | None) -> dict[str, str]:
    """Return the pinned runs with what can be done to them, empty without any, and a word for what panels show."""
    pins = [(which, link) for which, link in pins_of(of_suite(session.comparison, session.suite)) if link]
    if not pins:
        return {"pins": "", "pinned": ""}
    chips = "".join(_chip(which, link) for which, link in pins) + (SWAP if len(pins) > 1 else "")
    words = escape(_sentence([(which.upper(), recipe_at(link).digest) for which, link in pins], run, pinned))
    said = f'{chips}<p aria-live="polite">{words}</p>'
    return {
        "pins": f'<div class="mp-pins" role="region" aria-label="Pinned runs">{said}</div>',
        "pinned": pinned.word if pinned else "",
    }


def _sentence(pins: list[tuple[str, str]], run: Run | None, pinned: Beside | None) -> str:
    """Return what every panel shows, for pins as letters and digests."""
    here = next((letter for letter, digest in pins if run and digest == run.recipe.digest), "")
    if pinned is None:
        return f"{here} is the run on the page: load or merge another one, and every panel shows it beside {here}."
    if here:
        return f"Every panel shows {here}, the run on the page, beside {pinned.letter}."
    also = f" Load {pins[-1][0]} to see the two pinned runs beside each other." if len(pins) > 1 else ""
    return f"Every panel shows the run on the page beside {pinned.letter}.{also}"


def _chip(which: str, link: str) -> str:
    """Return a pinned run with buttons to load it and to let it go."""
    letter = which.upper()
    title, changed = map(partial(escape, quote=True), described(recipe_at(link)))
    tied = f'data-recipe="{link}" data-name="{which}"'
    return (
        f'<span class="mp-pinned"><b>{letter}</b>{title} <small title="{changed}">{changed}</small>'
        f'<button type="button" data-emit="load" {tied} aria-label="Load {letter}">load</button>'
        f'<button type="button" data-emit="pin" {tied} aria-label="Unpin {letter}">×</button></span>'
    )
