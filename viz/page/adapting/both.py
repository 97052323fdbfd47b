"""The run on the page and the pinned one, for panels that both may have something for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from merge_engine.runs.recipe import Recipe
from merge_engine.suite import Suite, load_suite
from viz.panel import Drawing

from ..compare.beside import Beside, together
from ..session import Session
from ..workbench import Workbench


@dataclass(frozen=True)
class Both:
    """The recipe of the run on the page and the pinned run, each None where there is none."""

    bench: Workbench
    session: Session
    recipe: Recipe | None
    pinned: Beside | None

    @property
    def suite(self) -> Suite:
        return load_suite(self.session.suite)

    @property
    def recipes(self) -> tuple[Recipe | None, Recipe | None]:
        return self.recipe, self.pinned.recipe if self.pinned else None

    @property
    def place(self) -> dict[str, Any]:
        """The matrix that the session looks at."""
        return {"block": self.session.block, "kind": self.session.kind}

    def drawn(
        self, panel: ModuleType, data: Sequence[Any], lacks: str, absent: str = "", **options: Any
    ) -> Drawing | None:
        """Return a panel of the data of both, as far as they have some, with the words for one that has none."""
        differs = self.pinned.strange(self.recipe) if self.pinned else ""
        return together(panel, self.recipe, self.pinned, data, lacks, absent=absent, differs=differs, **options)
