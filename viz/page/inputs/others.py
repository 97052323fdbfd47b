"""What stored merges that learned to route made of an input, to stand beside the routers that need no training."""

from __future__ import annotations

from collections.abc import Iterator

from merge_engine.errors import MergeError
from merge_engine.runs.publish import stored_lines
from merge_engine.runs.table import recipe_of, shown_row

from ..record import Record
from .case import Case, case_of

LINES = ("twin_merging", "we_moe", "e_we_moe", "rankone_moe", "smile", "mass")


def other_cases(record: Record, case: Case) -> Iterator[Case]:
    """Yield the input of a case as other methods met it, as far as they merged the same experts and remember it."""
    lines = stored_lines(case.suite)
    for name in LINES:
        if name not in lines or name == case.method:
            continue
        try:
            run = record.known(recipe_of(shown_row(lines[name])))
        except MergeError:
            continue
        if run is None or run.partial or run.recipe.experts != case.experts:
            continue
        found = case_of(case.suite, run, case.task, case.index)
        if found is not None and found.said.route is not None:
            yield found
