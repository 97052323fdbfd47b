"""The answer in numbers: how good the merge is, beside what it started from and what it could be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from .record import Pairs, Run, average_of

NORMAL = 1.959963984540054


@dataclass(frozen=True)
class Answer:
    """Means over the tasks of the merged experts, in percent; None where something is not known."""

    average: float | None = None
    half_width: float | None = None
    normalised: float | None = None
    pretrained: float | None = None
    expert: float | None = None
    tasks: int = 0
    pictures: int = 0
    total: int = 0


def answer(run: Run | None, own: Sequence[str], baselines: Pairs) -> Answer:
    """Return the means of a run; baselines are taken on the same pictures as the scores, all of them without a run."""
    scores = {t: run.scores[t] for t in own if run and t in run.scores}
    counts = {t: s.n for t, s in scores.items()}
    known = {t: baselines.get(t, (None, None)) for t in own}
    before = {t: model.accuracy(counts.get(t)) for t, (model, _) in known.items() if model}
    alone = {t: expert.accuracy(counts.get(t)) for t, (_, expert) in known.items() if expert}
    ratios = [100 * s.accuracy / alone[t] for t, s in scores.items() if alone.get(t)]
    whole = len(scores) == len(own)
    return Answer(
        average=_mean([s.accuracy for s in scores.values()]) if whole else None,
        half_width=_half_width(list(scores.values())) if whole and scores else None,
        normalised=_mean(ratios) if len(ratios) == len(own) else None,
        pretrained=_mean(list(before.values())) if len(before) == len(own) else None,
        expert=_mean(list(alone.values())) if len(alone) == len(own) else None,
        tasks=len(own),
        pictures=sum(s.n for s in scores.values()),
        total=sum(s.total for s in scores.values()),
    )


def headline(run: Run | None, found: Answer, plain: float | None, parameters: float) -> str:
    """Return the row of numbers that are known; `plain` is the plain average's accuracy, `parameters` one model's."""
    tiles = _references(found, plain) if found.average is None else _comparisons(run, found, found.average, plain)
    if run is not None and run.scores:
        tiles += [_cost_tile(run)] if math.isfinite(run.merge_seconds) else []
        tiles += [_size_tile(run.stored_parameters, parameters)] if math.isfinite(run.stored_parameters) else []
    shown = run.recipe.digest if run is not None else ""
    return f'<dl class="mp-headline" data-shown="{shown}">{_merged_tile(run, found)}{"".join(tiles)}</dl>'


def tile(label: str, value: str, below: str = "", *, kind: str = "", why: str = "") -> str:
    """Return one number with its name above and its unit or context below; `value` and `below` are plain text."""
    title = f' title="{escape(why, quote=True)}"' if why else ""
    return (
        f'<div class="mp-tile {kind}"{title}><dt>{escape(label)}</dt><dd><b>{escape(value)}</b>'
        f"<small>{escape(below)}</small></dd></div>"
    )


def size(parameters: float) -> str:
    """Return a count of parameters in words: 22.1 M."""
    if not math.isfinite(parameters):
        return "–"
    for unit, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if parameters >= factor:
            return f"{parameters / factor:.3g} {unit}"
    return f"{parameters:.0f}"


def in_bytes(parameters: float) -> str:
    """Return the bytes of so many float32 numbers in words: 86 MB."""
    words = size(4 * parameters)
    unit = "B" if words[-1].isalpha() else " B"
    return words + unit if math.isfinite(parameters) else words


def duration(seconds: float) -> str:
    """Return seconds as people say them: 0.4 s, 12 s, 3 min."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 99.5 else f"{seconds / 60:.0f} min"


def _merged_tile(run: Run | None, found: Answer) -> str:
    if found.average is None:
        scoring = run is not None and run.phase in ("merging", "scoring")
        words = ("scoring …", "") if scoring else ("not merged yet", "press Merge to see how good it is")
        return tile("merged model", *words, kind="mp-main mp-waiting")
    about = "≈ " if run is not None and run.partial else ""
    below = f"± {found.half_width:.1f} · {found.tasks} task{'s' if found.tasks != 1 else ''}"
    why = f"Average accuracy on {found.pictures} of {found.total} test pictures, with its 95 % interval."
    return tile("merged model", f"{about}{found.average:.1f} %", below, kind="mp-main", why=why)


def _references(found: Answer, plain: float | None) -> list[str]:
    """What a merge will be compared with."""
    known = [
        ("pretrained model", found.pretrained, "before fine-tuning", "The model that all experts started from."),
        ("plain average", plain, "of the experts", "The average of the experts' weights, the simplest merge."),
        ("the experts", found.expert, "each on its own task", "One model for every task, nothing merged."),
    ]
    return [tile(label, _percent(value), below, why=why) for label, value, below, why in known if value is not None]


def _comparisons(run: Run | None, found: Answer, average: float, plain: float | None) -> list[str]:
    """How a merge stands beside what is known."""
    tiles = []
    if found.normalised is not None:
        why = "Normalised accuracy: mean over tasks of merged accuracy divided by the expert's own."
        tiles.append(tile("recovered", _percent(found.normalised), "of the experts", why=why))
    itself = run is not None and run.recipe == average_of(run.recipe.suite, run.recipe.experts)
    known = [
        ("over pretrained", found.pretrained, "from", "Points gained over the model that nobody fine-tuned."),
        ("over plain average", None if itself else plain, "from",
         "Points gained over the average of the same experts' weights."),
        ("gap to experts", found.expert, "experts", "Points lost against using every task's own expert."),
    ]  # fmt: skip
    return tiles + [
        tile(label, _points(average - value), f"{word} {_percent(value)}", why=why)
        for label, value, word, why in known
        if value is not None
    ]


def _cost_tile(run: Run) -> str:
    score = f"score {duration(run.score_seconds)}" if run.score_seconds else ""
    took = "< 0.1 s" if run.merge_seconds < 0.05 else duration(run.merge_seconds)
    return tile("merge time", took if run.merged_now else "kept", score,
                why="Seconds to merge and to score. 'kept': only the scaling changed, so nothing was merged again.")


def _size_tile(stored: float, parameters: float) -> str:
    times = f"{stored / parameters:.2g}" if parameters else ""
    times = "as one model" if times == "1" else f"{times} × one model" if times else ""
    return tile("parameters", size(stored), times, why="Parameters to keep, masks counted as one bit an entry.")


def _percent(value: float) -> str:
    return f"{value:.1f} %"


def _points(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _half_width(scores: list) -> float:
    """Half of the 95 % interval of a mean of independent shares, with two successes and failures added to each."""
    spread = sum(p * (1 - p) / (s.n + 4) for s in scores for p in [(s.correct + 2) / (s.n + 4)])
    return 100 * NORMAL * math.sqrt(spread) / len(scores)
