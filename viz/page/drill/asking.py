"""Whether a merge without something is scored unasked, and what it takes."""

from __future__ import annotations

from html import escape

from merge_engine.knock_out import starts_over
from merge_engine.methods import method_class
from merge_engine.precision import KNOWN
from merge_engine.runs.run import adapts
from viz import markup
from viz.panels import flips

from ..costs import Seconds
from ..record import Run
from ..workbench import Workbench
from . import knock

SOON = 2.0  # seconds of merging that nobody has to be asked about
BUTTON = '<p class="mp-cost"><button type="button" data-emit="score">Score it</button><span>{}</span></p>'
UNKNOWN = "a time that is not known yet"


def at_once(bench: Workbench, base: Run) -> bool:
    """Return whether a merge without something may begin unasked: the rest of it is kept, or soon made again."""
    if starts_over(*base.recipe.build()):
        return False
    seconds = bench.cost(base.recipe).merge
    return seconds is not None and seconds < SOON


def _takes(bench: Workbench, base: Run) -> str:
    """Return what a merge without something takes, in words that follow "takes"."""
    cost = cost_of(bench, base)
    return UNKNOWN if cost.score is None else cost.words


def cost_of(bench: Workbench, base: Run) -> Seconds:
    """Return what a merge without something takes: no merging where only the touched matrices are merged again."""
    kept = bench.merged(base.recipe) is not None and not starts_over(*base.recipe.build())
    pictures = sum(score.total for score in base.scores.values())
    return bench.costs.seconds(base.recipe, kept, pictures, KNOWN[base.precision])


def cost_words(bench: Workbench, base: Run) -> str:
    """Return that in words, and that the whole merge has to be made again where it has."""
    cost = _takes(bench, base)
    if not starts_over(*base.recipe.build()):
        return f"Every knock-out takes {cost}."
    title, again = method_class(base.recipe.method).title, "adapts" if adapts(base.recipe) else "merges"
    return f"{title} {again} all over again without it: every knock-out takes {cost}."


def button(bench: Workbench, base: Run) -> str:
    """Return the button that asks for the scoring, with its cost."""
    return BUTTON.format(escape(f"It takes {_takes(bench, base)}."))


def unscored(bench: Workbench, base: Run, words: tuple[str, ...]) -> str:
    """Return the frame of a result that nobody asked for yet."""
    return markup.frame("flips", f"Without {knock.said(words)}: not scored", flips.ABOUT, button(bench, base))
