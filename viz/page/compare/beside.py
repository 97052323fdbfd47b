"""The pinned run that every panel shows beside the run on the page, and the words where a panel cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from merge_engine.runs.recipe import Recipe
from viz.panel import Drawing, draw
from viz.pin import Pin

from ..record import Record, Run
from ..session import Session
from .comparison import of_suite, pins_of, recipe_at
from .visit import run_of

UNMEASURED = "{} is not measured yet. Load it and press Merge to see it here."
OTHERS = "{} merges other experts, so the two cannot be compared here. Load it to see it alone."
ALONE = "This is about the experts alone, so it is the same for {}."
OTHERS_ALONE = "This is about the experts that are chosen here; {} merges others."
BY_ITSELF = "This is {} alone: {}."


@dataclass(frozen=True)
class Beside:
    """The run that is pinned as `letter`; `run` is None where nothing is known of it yet."""

    letter: str
    recipe: Recipe
    run: Run | None

    @property
    def word(self) -> str:
        """A word that differs whenever panels would show something else of it."""
        return f"{self.letter} {self.recipe.digest} {self.run.moment if self.run else ''}"

    def of_experts(self, experts: Sequence[str]) -> str:
        """Return what a panel that is about some experts alone says of it."""
        return (ALONE if self.recipe.experts == tuple(experts) else OTHERS_ALONE).format(self.letter)

    def strange(self, recipe: Recipe | None) -> str:
        """Return why what it says of its experts has no place beside a run; nothing where the experts are the same."""
        return OTHERS.format(self.letter) if recipe and recipe.experts != self.recipe.experts else ""


def beside(record: Record, session: Session, shown: str) -> Beside | None:
    """Return the run pinned as A, or as B where A is the run on the page itself; None where neither can be.

    `shown` is the digest of the recipe of the run on the page, empty for none.
    """
    for which, link in pins_of(of_suite(session.comparison, session.suite)):
        if link and recipe_at(link).digest != shown:
            return Beside(which.upper(), recipe_at(link), run_of(record, link))
    return None


def together(
    panel: ModuleType, recipe: Recipe | None, pin: Beside | None, data: Sequence[Any], lacks: str, *,
    absent: str = "", differs: str = "", first: str | None = None, **options: Any,
) -> Drawing | None:  # fmt: skip
    """Return a panel of the run on the page beside the one of `pin`, as far as each has data; None where neither has.

    `recipe` is that of the run on the page, None without one; `data` are those of both, None or empty for none.
    `lacks` says of a run that it has none, such as "has no router", and `absent` the same of the pinned one where that
    is another matter. `differs` says why both cannot be compared; where they can, the view `first` is shown first.
    """
    own, other = data
    if pin is None or not (own or other):
        return draw(panel, own, **options) if own else None
    letter = pin.letter
    if not own:
        why = f"the run on the page {lacks}" if recipe else "nothing is merged yet"
        return draw(panel, other, aside=BY_ITSELF.format(letter, why), owner=letter, **options)
    if not other:
        said = f"{letter} {absent or lacks}." if pin.run else UNMEASURED.format(letter)
        return draw(panel, own, aside=said, **options)
    if differs:
        return draw(panel, own, aside=differs, **options)
    return draw(panel, own, pinned=Pin(letter, other), view=first, **options)
