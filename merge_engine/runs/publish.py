"""Writing a results table where the page and the README find it."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from ..adapting.live import PICTURES
from ..derive import REFERENCE, reference_page
from ..hp import declared
from ..methods import registry
from ..suite import BUNDLED, Suite, load_suite
from . import kept_answers, trajectories
from .content import suite_digest
from .results import (
    SHIPPED,
    Result,
    Results,
    answers_file,
    cached_folder,
    read_json,
    routed_right,
    shipped_folder,
    trajectory_file,
    write_bytes,
    write_json,
)
from .study_words import STUDIES
from .table import CHOSEN, CPU, DEFAULT, TRANSDUCTIVE, Row, by_line, entries, shown_row

README = SHIPPED.parents[1] / "README.md"
README_SUITE = "pictures"
README_PARTS = ("table", "draws", "seeds", "robustness")
MARKERS = ("<!-- results table -->", "<!-- /results table -->")
HEAD = (
    "method", "published default", "chosen on validation", "normalised", "NAI", "unseen", "stored M", "MB", "merge s",
    "ms a picture", "chosen",
)  # fmt: skip
MOVING = ("Adaptive", "Routed")
MOVING_HEAD = (
    "method", "inductive", "transductive", "normalised", "NAI", "unseen", "head", "routed right", "passes", "stored M",
    "MB", "merge s", "ms a picture", "while adapting", "given", "parameters",
)  # fmt: skip
MULTITASK = "multitask.json"
SETTINGS = (DEFAULT, CHOSEN, CPU, TRANSDUCTIVE)


def table_folder(suite: Suite) -> Path:
    """Return where a suite's table lies: with the shipped results for a bundled suite, else in the cache."""
    bundled = suite.folder.resolve().parent == BUNDLED
    return shipped_folder(suite.name) if bundled else cached_folder(suite.name)


def stored_lines(suite: Suite) -> dict[str, dict[str, Row]]:
    """Return the rows of a suite's stored table by line and setting; empty where there is none."""
    file = table_folder(suite) / "table.json"
    try:
        return by_line(_rows(file, file.stat().st_mtime_ns))
    except OSError:
        return {}


@lru_cache(maxsize=4)
def _rows(file: Path, written: int) -> tuple[Row, ...]:
    """Return the rows of a table as it was written at a time, in ns, read once."""
    return tuple((read_json(file) or {}).get("rows", []))


def write_table(suite: Suite, rows: Sequence[Row], reference: dict[str, Any], folder: Path) -> None:
    """Write table.json, table.md, baselines.json and trajectories; rows of other methods that still hold are kept."""
    order = {line.name: place for place, line in enumerate(entries())}
    holding = {suite_digest(suite, line.recipe(suite).experts, "score") for line in entries()}
    there = (read_json(folder / "table.json") or {}).get("rows", [])
    new = {(row["name"], row["setting"]) for row in rows}
    kept = [r for r in there if (r["name"], r["setting"]) not in new and r["name"] in order and r["content"] in holding]
    every = sorted([*kept, *rows], key=lambda r: (order[r["name"]], SETTINGS.index(r["setting"])))
    shown = {key: value for key, value in reference.items() if key != "entries"}
    table = {"suite": suite.name, "machine": machine(), "baselines": shown, "rows": every}
    write_json(folder / "table.json", table)
    write_json(folder / "baselines.json", reference["entries"])
    (folder / "table.md").write_text(markdown(table, multitask_of(suite, folder)), encoding="utf-8")
    results = [Result.from_dict(row) for row in every]
    _write_trajectories(suite, results, folder)
    _write_answers(suite, results, folder)


def multitask_of(suite: Suite, folder: Path) -> dict[str, Any] | None:
    """Return the record of the model trained on all tasks, if it was trained on this content of the suite."""
    record = read_json(folder / MULTITASK)
    return record if record and record["content"] == suite_digest(suite, suite.experts, "score") else None


def _write_trajectories(suite: Suite, results: Sequence[Result], folder: Path) -> None:
    """Put beside the table how its rows adapted, as far as that is known; trajectories of no row go."""
    store, held = Results(suite.name), set()
    for result in results:
        file, cached = folder / trajectory_file(result.recipe, result.half), store.trajectory(result.key)
        if trajectories.read(cached, result.key) is not None:
            write_bytes(file, cached.read_bytes())
        if trajectories.read(file, result.key) is not None:
            held.add(file)
    for stray in set((folder / trajectories.FOLDER).glob(f"*{trajectories.SUFFIX}")) - held:
        stray.unlink()


def _write_answers(suite: Suite, results: Sequence[Result], folder: Path) -> None:
    """Put beside the table what its rows said about inputs, as far as that is known; answers of no row go."""
    store, held = Results(suite.name), set()
    for result in results:
        file, cached = folder / answers_file(result), store.answers_file(result.key)
        correct = result.correct
        if (found := kept_answers.read(cached, result.key, suite)) is not None and found.correct == correct:
            write_bytes(file, cached.read_bytes())
        if (found := kept_answers.read(file, result.key, suite)) is not None and found.correct == correct:
            held.add(file)
    for stray in set((folder / kept_answers.FOLDER).glob(f"*{kept_answers.SUFFIX}")) - held:
        stray.unlink()


def write_study(suite: Suite, name: str, rows: Sequence[Row], folder: Path) -> None:
    """Write the rows of a study, such as `draws`, beside the table."""
    content = suite_digest(suite, suite.experts, "score")
    write_json(folder / f"{name}.json", {"suite": suite.name, "content": content, "rows": list(rows)})
    (folder / f"{name}.md").write_text(STUDIES[name](rows), encoding="utf-8")


def stored_study(suite: Suite, name: str) -> list[Row]:
    """Return the rows of a stored study; empty where there is none of what the suite holds now."""
    return study_in(suite, name, table_folder(suite))


def study_in(suite: Suite, name: str, folder: Path) -> list[Row]:
    """Return the rows of a study in a folder; empty where there is none of what the suite holds now."""
    found = read_json(folder / f"{name}.json")
    return found["rows"] if found and found["content"] == suite_digest(suite, suite.experts, "score") else []


def machine() -> dict[str, Any]:
    """Return what the seconds of a table were measured on."""
    return {"system": platform.platform(), "torch": torch.__version__, "threads": torch.get_num_threads()}


def markdown(table: dict[str, Any], multitask: dict[str, Any] | None = None) -> str:
    """Return the table in Markdown: static merges, ceilings that know the task, then those that adapt or route."""
    fixed = table["baselines"]
    lines = [
        *_header(HEAD, 2),
        _line("*pretrained model*", _cell(fixed["pretrained"]), "", "", "", _cell(fixed["unseen_pretrained"])),
    ]
    ordered = sorted(by_line(table["rows"]).values(), key=_rank)
    static = [p for p in ordered if not _moves(p)]
    moving = [p for p in ordered if _moves(p)]
    lines += [_method_line(pair) for pair in static if "task id" not in _first(pair)["needs"]]
    lines += [_method_line(pair) for pair in static if "task id" in _first(pair)["needs"]]
    if multitask is not None:
        average, unseen = _cell(multitask["average"]), _cell(multitask["unseen_average"])
        lines.append(_line("*multi-task training, labelled data of all tasks*", average, "", "", "", unseen))
    lines.append(_line("*experts, each on its own task*", _cell(fixed["experts"]), "", "100.0", "1.00"))
    lines += ["", _footnote(table)]
    if moving:
        lines += ["", *_header(MOVING_HEAD, 4), *(_moving_line(pair) for pair in moving), "", MOVING_NOTE]
    return "\n".join(lines) + "\n"


MOVING_NOTE = (
    "Methods that adapt to unlabelled pictures, or route every picture; those given the task id are ceilings. "
    "Inductive: they saw the adapt half of the test split and are scored on the other half; transductive: they saw the "
    "very pictures they are scored on, in batches of one task each under that task's head. Passes: forward passes of "
    "one model that a picture costs. Head: whether the merge picks the task's head and classes itself, so that a wrong "
    "task is a wrong answer, or the true task picks them. While adapting: "
    f"accuracy after the first and the last update watched, on {PICTURES} score pictures per task, and the best one, "
    "which nobody could pick without labels. Parameters that differ from the published defaults are shown; courses are "
    "shortened for two processor cores."
)


def _header(head: tuple[str, ...], words: int) -> list[str]:
    """Return the head and the rule of a table; the first column and the last ones are words, the others numbers."""
    numbers = len(head) - words
    return ["| " + " | ".join(head) + " |", "|---|" + "---:|" * numbers + "---|" * (words - 1)]


def _moves(pair: dict[str, Row]) -> bool:
    return _first(pair)["family"] in MOVING


def _rank(pair: dict[str, Row]) -> tuple[int, float]:
    """Order merges of more experts first, then the more accurate ones."""
    row = shown_row(pair)
    return -len(row["experts"]), -(row["average"] or 0.0)


def _first(pair: dict[str, Row]) -> Row:
    return next(iter(pair.values()))


def _moving_line(pair: dict[str, Row]) -> str:
    best = shown_row(pair)
    cells = [
        best["title"], _cell(best["average"]), _cell(pair[TRANSDUCTIVE]["average"]) if TRANSDUCTIVE in pair else "",
        _cell(best["normalised_average"]), _cell(best["nai"], 2), _cell(best["unseen_average"]),
        "routed" if best["routed"] else "given", _cell(routed_right(best)), _cell(best["forwards"], 2),
        *_costs(best), _course(best),
        ", ".join(best["needs"]) or "weights only", _unusual(best),
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def _course(row: Row) -> str:
    """Return the accuracy of the first, the last and the best watched update."""
    seen = [point["average"] for point in row["curve"]]
    return f"{seen[0]:.1f} → {seen[-1]:.1f}, best {max(seen):.1f}" if seen else ""


def _unusual(row: Row) -> str:
    published = {name: hp.default for name, hp in declared(registry()[row["method"]]).items()}
    return ", ".join(f"{name} {value}" for name, value in row["parameters"].items() if value != published[name])


def into_readme(readme: str, table: str) -> str:
    """Return a README with the table between its markers; as it is when it has none."""
    before, found, rest = readme.partition(MARKERS[0])
    _, closed, after = rest.partition(MARKERS[1])
    return f"{before}{MARKERS[0]}\n{table}{MARKERS[1]}{after}" if found and closed else readme


def generated_pages() -> dict[Path, str]:
    """Return what every generated page must hold: the reference of the methods, tables in words, and the README."""
    pages = {REFERENCE: reference_page()}
    folder = shipped_folder(README_SUITE)
    table = read_json(folder / "table.json")
    if table is not None and README.is_file():
        words = {"table": markdown(table, multitask_of(load_suite(README_SUITE), folder))}
        for name, spoken in STUDIES.items():
            if (found := read_json(folder / f"{name}.json")) is not None:
                words[name] = spoken(found["rows"])
        pages |= {folder / f"{name}.md": text for name, text in words.items()}
        parts = [text for name, text in words.items() if name in README_PARTS]
        pages[README] = into_readme(README.read_text(encoding="utf-8"), "\n".join(parts))
    return pages


def _method_line(pair: dict[str, Row]) -> str:
    best = shown_row(pair)
    name = best["title"] + (" (first two experts)" if len(best["experts"]) == 2 else "")
    if "task id" in best["needs"] and "task known" not in name:
        name += " (task known)"
    default = _cell(pair[DEFAULT]["average"]) if DEFAULT in pair else "cpu preset"
    chosen = "as default" if list(pair) == [DEFAULT] else _cell(best["average"])
    changes = _changes(pair[DEFAULT], best) if DEFAULT in pair else _unusual(best)
    return _line(
        name, default, chosen, _cell(best["normalised_average"]), _cell(best["nai"], 2),
        _cell(best["unseen_average"]), *_costs(best), changes,
    )  # fmt: skip


def _costs(row: Row) -> tuple[str, ...]:
    """Return millions of parameters and bytes to store, seconds to merge and milliseconds to score a picture."""
    result = Result.from_dict(row)
    pace, merging = result.milliseconds, result.seconds["merge"]
    return tuple(map(_cell, (result.stored_parameters / 1e6, result.megabytes, merging, pace)))


def _changes(default: Row, best: Row) -> str:
    """Return what differs from the published defaults, in words."""
    steps = [(best["parameters"], default["parameters"])]
    steps += [(b["parameters"], d["parameters"]) for b, d in zip(best["post"], default["post"], strict=True)]
    return ", ".join(f"{name} {value}" for b, d in steps for name, value in b.items() if value != d[name])


def _footnote(table: dict[str, Any]) -> str:
    own = table["machine"]
    protocol = next((row["protocol"] for row in table["rows"] if row["accuracy"]), "")
    return (
        f"{protocol.partition(' The method is given')[0]} Averages "
        "are over the tasks of the merged experts. The columns after the second one are at the chosen setting; "
        "normalised is the mean of merged over expert accuracy in percent, NAI the share of the way from the "
        "pretrained model to the experts. The true task picks head and classes of every picture; all else, biases too, "
        "is of the one merge. Methods marked “task known” are given the task of every picture: a ceiling, not a merged "
        "model. MB: bytes to store in float32, masks in bits. Milliseconds to score a picture, and seconds, on "
        f"{own['threads']} threads, decompositions in the store where there were any."
    )


def _line(*cells: str) -> str:
    return "| " + " | ".join([*cells, *[""] * (len(HEAD) - len(cells))]) + " |"


def _cell(value: float | None, places: int = 1) -> str:
    return "–" if value is None else f"{value:.{places}f}"
