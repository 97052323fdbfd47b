"""How the number on the page was measured: its protocol, what it is in the other one, and how much of it is luck."""

from __future__ import annotations

from functools import lru_cache
from html import escape
from statistics import fmean, stdev

from merge_engine.runs.content import suite_digest
from merge_engine.runs.protocol import Protocol
from merge_engine.runs.publish import stored_lines, stored_study
from merge_engine.runs.recipe import Recipe
from merge_engine.runs.results import Results
from merge_engine.runs.run import adapts, routes
from merge_engine.runs.table import shown_row
from merge_engine.suite import load_suite

from .record import Run


def measured(run: Run | None) -> str:
    """Return the protocol of a run in a line that opens, or nothing before there is a score."""
    if run is None or not run.scores or run.phase == "merging":
        return ""
    recipe, routed = run.recipe, bool(routes(run.scores))
    method, post = recipe.build()
    counts = [score.n for score in run.scores.values()]
    sentence = Protocol().sentence(counts, (method, *post), "as set on the page", routed)
    head = "the merge picks the head" if routed else "the true task picks the head"
    words = [*(["inductive"] if adapts(recipe) else []), head, *_beside(recipe)]
    return (
        f'<details class="mp-measured"><summary>How this was measured: {escape(" · ".join(words))}</summary>'
        f"<p>{escape(sentence)}</p></details>"
    )


@lru_cache(maxsize=64)
def _beside(recipe: Recipe) -> tuple[str, ...]:
    """Return what is stored of the same recipe: its transductive accuracy, and its spread over seeds."""
    suite, found = load_suite(recipe.suite), []
    if adapts(recipe):
        content = suite_digest(suite, recipe.experts, "score")
        seen = Results(recipe.suite).find(recipe, content, half="score")
        found += [f"{seen.average:.1f} % transductive"] if seen and seen.average is not None else []
    runs = next((row for row in stored_study(suite, "seeds") if row["name"] == recipe.method), None)
    line = stored_lines(suite).get(recipe.method)
    if runs and line and len(runs["average"]) > 1 and shown_row(line)["recipe"] == recipe.digest:
        each = runs["average"]
        found.append(f"{fmean(each):.1f} ± {stdev(each):.1f} % over {len(each)} seeds")
    return tuple(found)
