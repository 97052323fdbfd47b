"""The studies beside the results table in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from .entropy_study import START
from .results import routed_right
from .robustness import CLEAN, comparable, summary
from .variants import ANCHOR

Row = dict[str, Any]
DRAWS_NOTE = (
    "Routers fitted to {draws} random draws of 32 unlabelled support pictures per task: mean over draws ± standard "
    "deviation, in percent. Right is the share sent to the own expert; end to end, expert and class are both right; "
    "known is the accuracy of the store when told the task."
)
SEEDS_NOTE = (
    "Methods that depend on chance, at their setting in the table, with {seeds} seeds, which decide the order of the "
    "unlabelled pictures, the start of what is trained and the entries that are dropped: mean ± standard deviation of "
    "the accuracy in percent, inductive, on the score half."
)
ROBUSTNESS_NOTE = (
    "Accuracy in percent on corrupted pictures, {severities} (of 5), on at most {pictures} pictures per task of the "
    "score half. A method that adapts is named with the pictures that it adapted to."
)
ENTROPY_NOTE = (
    "Methods that minimise entropy, at their cpu preset (the anchor) and with one thing changed at a time: accuracy in "
    "percent, and the points gained over the static merge that they start from, inductive, on {pictures} of the score "
    "half, one seed each. The published course has the rates, the batch and the updates of the papers, at most 1,000 "
    "of them. AdaRank's learning rate is that of its coefficients; masks have one of their own. The oracle was given "
    "the true labels of the pictures it adapted to: for analysis only."
)
UNSURE_NOTE = (
    "The mean entropy of the predictions on the same pictures, over ln C, its largest possible value: at the static "
    "start → after adapting. Near 1 a model hardly prefers any class; near 0 it is sure, right or wrong."
)

VARIANTS_NOTE = (
    "Declared options of methods, one change at a time from the setting in the table of all methods: accuracy in "
    "percent on {pictures} of the score half, averaged over the tasks of the experts, and the points apart from the "
    "first row of the method; inductive unless a row says otherwise, one seed each. Routed right: the share of "
    "pictures sent to their own task's expert. Seconds on a machine that did other work too."
)


def draws_words(rows: Sequence[Row]) -> str:
    """Return routers against the stores they route over."""
    stores = list(rows[0]["stores"])
    head = ["router", "right", *(f"end to end, {s} (known {rows[0]['stores'][s]['known']:.1f})" for s in stores)]
    body = [
        [row["title"], _spread(row["routed"]), *(_spread(row["stores"][s]["end_to_end"]) for s in stores)]
        for row in sorted(rows, key=lambda row: -fmean(row["routed"]))
    ]
    return _table(head, body) + "\n" + DRAWS_NOTE.format(draws=len(rows[0]["routed"])) + "\n"


def seeds_words(rows: Sequence[Row]) -> str:
    """Return methods against tasks, each with its spread over seeds."""
    tasks = list(dict.fromkeys(task for row in rows for task in row["accuracy"]))
    body = [
        [row["title"], _spread(row["average"]), *(_spread(row["accuracy"][task]) for task in tasks)]
        for row in sorted(rows, key=lambda row: -fmean(row["average"]))
    ]
    return _table(["method", "average", *tasks], body) + "\n" + SEEDS_NOTE.format(seeds=len(rows[0]["seeds"])) + "\n"


def robustness_words(rows: Sequence[Row]) -> str:
    """Return cases against corruptions, a table for every set of severities that cases share."""
    return "\n".join(_robust(degrees, some) for degrees, some in comparable(rows))


def _robust(degrees: Sequence[int], rows: Sequence[Row]) -> str:
    kinds = [kind for kind in dict.fromkeys(row["kind"] for row in rows) if kind != CLEAN]
    body = [
        [f"{title}, {seen}" if seen else title, *(_cell(found.get(kind)) for kind in (CLEAN, *kinds, "all"))]
        for (title, seen), found in summary(rows).items()
    ]
    several = f"the mean over severities {', '.join(map(str, degrees))}"
    severities = several if len(degrees) > 1 else f"severity {degrees[0]}"
    head = ["method", CLEAN, *(kind.replace("_", " ") for kind in kinds), "mean"]
    words = ROBUSTNESS_NOTE.format(severities=severities, pictures=rows[0]["pictures"])
    return f"{_table(head, body)}\n{words}\n"


def entropy_words(rows: Sequence[Row]) -> str:
    """Return cases against tasks, once what they score and gain, once how unsure they are."""
    tasks = list(rows[0]["accuracy"])
    scored = [
        [_case(row), _gained(row["average"], row["average_gain"], row),
         *(_gained(row["accuracy"][task], row["gain"][task], row) for task in tasks)]
        for row in rows
    ]  # fmt: skip
    unsure = [
        [_case(row), *(f"{begun:.2f} → {ended:.2f}" for begun, ended in row["entropy"].values())]
        for row in rows if row["variation"] != START
    ]  # fmt: skip
    limit = rows[0]["pictures"]
    note = ENTROPY_NOTE.format(pictures="all" if limit is None else f"at most {limit} pictures per task")
    accuracy, entropy = _table(["case", "average", *tasks], scored), _table(["case", *tasks], unsure)
    return f"{accuracy}\n{note}\n\n{entropy}\n{UNSURE_NOTE}\n"


def variants_words(rows: Sequence[Row]) -> str:
    """Return variants of methods beside the setting in the table."""
    tasks, anchors = list(rows[0]["accuracy"]), {r["method"]: r for r in rows if r["variant"] == ANCHOR}
    body = []
    for row in rows:
        anchor, right = anchors.get(row["method"]), routed_right(row)
        apart = "" if anchor in (None, row) else _signed(row["average"] - anchor["average"])
        body.append([
            f"{row['title']}, {row['variant']}", _cell(row["average"]), apart, _cell(right),
            f"{row['stored_parameters'] / 1e6:.1f}", f"{row['forwards']:.2f}", f"{row['seconds']['merge']:.0f}",
            *(_cell(row["accuracy"][task]["merged"] if task in row["accuracy"] else None) for task in tasks),
        ])  # fmt: skip
    head = ["variant", "average", "apart", "routed right", "stored M", "passes", "merge s", *tasks]
    limit = rows[0]["limit"]
    note = VARIANTS_NOTE.format(pictures="all" if limit is None else f"at most {limit} pictures per task")
    return f"{_table(head, body)}\n{note}\n"


STUDIES: Mapping[str, Callable[[Sequence[Row]], str]] = {
    "draws": draws_words,
    "seeds": seeds_words,
    "robustness": robustness_words,
    "entropy": entropy_words,
    "variants": variants_words,
}


def _table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *body]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _spread(values: Sequence[float]) -> str:
    return f"{fmean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"


def _case(row: Row) -> str:
    return f"{row['title']}, {row['changed']}"


def _gained(value: float, gain: float, row: Row) -> str:
    """Return a value with the points gained over the start, which has none."""
    if row["variation"] == START:
        return f"{value:.1f}"
    return f"{value:.1f} ({_signed(gain)})"


def _signed(value: float) -> str:
    return f"{round(value, 1) + 0.0:+.1f}".replace("-", "−")


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
