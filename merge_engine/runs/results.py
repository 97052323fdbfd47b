"""Results: what one merge scored, and where results lie, shared by the page and the command line.

Shipped results are under assets/results/<suite>/; what is measured here goes to the user's cache folder. A result
is found again by the digest of its recipe, the split, the number of pictures and the content of the suite.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..adapting.history import History
from ..evaluate import Score
from ..maths.svd import default_cache
from ..metrics.accuracy import accuracy_improvement, normalised
from ..suite import Suite
from . import kept_answers, trajectories
from .kept_answers import SPLIT, KeptAnswers, packed
from .recipe import Recipe, check_name

SHIPPED = Path(__file__).resolve().parents[2] / "assets" / "results"


@dataclass(frozen=True)
class TaskAccuracy:
    """Top-1 accuracy in percent on `n` pictures of a task; `expert` is None where the suite has none."""

    merged: float
    expert: float | None
    pretrained: float
    n: int


@dataclass(frozen=True)
class Result:
    """What a recipe scored. `average` and its companions are over the tasks of the merged experts.

    `half` of the test split is what an adaptive method saw, empty for the others; `routed` counts the inputs of a task
    by the expert they went to; `forwards` is the cost per input in passes of one model; `curve` is accuracy while it
    adapted, on a few pictures.
    """

    suite: str
    method: str
    parameters: Mapping[str, Any]
    experts: tuple[str, ...]
    protocol: str
    accuracy: Mapping[str, TaskAccuracy]
    average: float | None
    normalised_average: float | None
    nai: float | None
    unseen_average: float | None
    stored_parameters: float
    seconds: Mapping[str, float]
    warnings: tuple[str, ...] = ()
    post: tuple[Mapping[str, Any], ...] = ()
    seed: int = 0
    recipe: str = ""
    split: str = "score"
    limit: int | None = None
    half: str = ""
    corruption: str = ""
    content: str = ""
    forwards: float = 1.0
    routed: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    curve: tuple[Mapping[str, Any], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON types, rounded to what is meant."""
        found = dataclasses.asdict(self)
        found["accuracy"] = {task: _rounded(dataclasses.asdict(a)) for task, a in self.accuracy.items()}
        found["seconds"] = {name: round(value, 3) for name, value in self.seconds.items()}
        found |= {key: list(found[key]) for key in ("experts", "warnings", "post", "curve")}
        return _rounded(found)

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> Result:
        """Return the result of a mapping as `to_dict` makes it; other keys are ignored."""
        known = {f.name: given[f.name] for f in dataclasses.fields(cls) if f.name in given}
        known["accuracy"] = {task: TaskAccuracy(**values) for task, values in given["accuracy"].items()}
        known |= {key: tuple(known.get(key, ())) for key in ("experts", "warnings", "post", "curve")}
        return cls(**known)

    @property
    def key(self) -> str:
        """Name of the result in a store."""
        key = result_key(self.recipe, self.split, self.limit, self.content, self.half)
        return f"{key}-clean-stream" if self.corruption.endswith("clean") else key

    @property
    def megabytes(self) -> float:
        """Bytes of what is stored, in millions, in float32; a bit of a mask counts as a bit."""
        return 4 * self.stored_parameters / 1e6

    @property
    def milliseconds(self) -> float | None:
        """Time to score a picture, all its passes included."""
        pictures = sum(a.n for a in self.accuracy.values())
        return 1000 * self.seconds["score"] / pictures if pictures else None

    @property
    def correct(self) -> dict[str, int]:
        """Number of pictures of every task that were right."""
        return {task: round(a.merged * a.n / 100) for task, a in self.accuracy.items()}


def averages(
    accuracy: Mapping[str, TaskAccuracy], own: Sequence[str], unseen: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the mean accuracy over the experts' own tasks, absolute, normalised and as NAI, and over unseen tasks.

    Where an expert has no accuracy, or does not beat the pretrained model, its normalised accuracy or NAI is left out.
    """
    seen = [accuracy[task] for task in own if task in accuracy]
    merged, expert, pretrained = (
        [float("nan") if value is None else value for value in column]
        for column in ([a.merged for a in seen], [a.expert for a in seen], [a.pretrained for a in seen])
    )
    return {
        "average": _mean(merged),
        "normalised_average": _mean(100 * normalised(merged, expert)),
        "nai": _mean(accuracy_improvement(merged, expert, pretrained)),
        "unseen_average": _mean([accuracy[task].merged for task in unseen if task in accuracy]),
    }


def routed_right(row: Mapping[str, Any]) -> float | None:
    """Return the share of inputs, in percent and averaged over tasks, that went to their own task's expert."""
    shares = [100 * counts[task] / sum(counts.values()) for task, counts in row["routed"].items() if task in counts]
    return sum(shares) / len(shares) if shares else None


@dataclass(frozen=True)
class Results:
    """The stored results of a suite."""

    suite: str
    folder: Path = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "folder", cached_folder(self.suite) / "runs")

    def save(
        self,
        result: Result,
        history: History | None = None,
        scores: Mapping[str, Score] | None = None,
        precision: str = "float32",
    ) -> None:
        """Keep a result in the user's cache, unless one with more tasks is there; a full disk costs the record.

        Beside it lie the history of an adaptation, and what its scores, made in a `precision`, said about inputs.
        """
        self.save_history(result, history)
        stored = read_json(self.folder / f"{result.key}.json") or {}
        if set(stored.get("accuracy", ())) > set(result.accuracy):
            return
        write_json(self.folder / f"{result.key}.json", result.to_dict(), quiet=True)
        self.save_answers(result, scores or {}, precision)

    def save_answers(self, result: Result, scores: Mapping[str, Score], precision: str = "float32") -> None:
        """Keep in the user's cache what a result on the whole score half said about inputs, or forget what is there."""
        file, whole = self.answers_file(result.key), result.split == SPLIT and result.limit is None and scores
        data = packed(scores, result.key, precision) if whole and not result.corruption else None
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)
        if data is not None:
            write_bytes(file, data, quiet=True)

    def answers(self, result: Result, suite: Suite) -> KeptAnswers | None:
        """Return what a result said about inputs, if that was kept; what does not add up to its scores was not."""
        shipped = shipped_folder(self.suite) / answers_file(result)
        found = (kept_answers.read(file, result.key, suite) for file in (self.answers_file(result.key), shipped))
        return next((kept for kept in found if kept is not None and kept.correct == result.correct), None)

    def answers_file(self, key: str) -> Path:
        """Return the file in the user's cache that holds what a result said about inputs."""
        return self.folder / f"{key}{kept_answers.SUFFIX}"

    def find(
        self, recipe: Recipe, content: str, split: str = "score", limit: int | None = None, half: str = ""
    ) -> Result | None:
        """Return what a recipe scored on this content of the suite, or None."""
        key = result_key(recipe.digest, split, limit, content, half)
        stored = read_json(self.folder / f"{key}.json")
        if stored is not None:
            return Result.from_dict(stored)
        return next((r for r in self.shipped() if r.key == key), None)

    def varied(self, recipe: Recipe, content: str, name: str) -> list[Result]:
        """Return the full results of a recipe at every value of one hyper-parameter that was measured, ascending."""
        stored = map(read_json, self.folder.glob(f"*-score-all-{content[:16]}.json"))
        known = [*(Result.from_dict(found) for found in stored if found is not None), *self.shipped()]
        alike, values = _apart_from(recipe.to_dict(), name), dict[Any, Result]()
        for result in known:
            own = {key: getattr(result, key) for key in ("experts", "method", "parameters", "post", "seed")}
            full = result.content == content and result.limit is None and result.half in ("", "adapt")
            if full and _apart_from({**own, "experts": [*result.experts], "post": [*result.post]}, name) == alike:
                values.setdefault(result.parameters[name], result)
        return [values[value] for value in sorted(values)]

    def save_history(self, result: Result, history: History | None) -> None:
        """Keep the history of a result in the user's cache, small enough to replay."""
        if history is not None and history.states:
            write_bytes(self.trajectory(result.key), trajectories.packed(history, result.key), quiet=True)

    def history(
        self, recipe: Recipe, content: str, split: str = "score", limit: int | None = None, half: str = ""
    ) -> History | None:
        """Return how a recipe adapted on this content of the suite, or None; a damaged file counts as none."""
        key = result_key(recipe.digest, split, limit, content, half)
        shipped = shipped_folder(self.suite) / trajectory_file(recipe.digest, half)
        found = (trajectories.read(file, key) for file in (self.trajectory(key), shipped))
        return next((history for history in found if history is not None), None)

    def trajectory(self, key: str) -> Path:
        """Return the file in the user's cache that a result's history lies in."""
        return self.folder / f"{key}{trajectories.SUFFIX}"

    def shipped(self) -> Iterator[Result]:
        """Yield the results of the shipped table and of the study of variants."""
        for name in ("table", "variants"):
            stored = read_json(shipped_folder(self.suite) / f"{name}.json") or {}
            yield from (Result.from_dict(row) for row in stored.get("rows", []))


def result_key(recipe: str, split: str, limit: int | None, content: str, half: str = "") -> str:
    """Return the name of a result in a store; only the unusual half, the transductive one, is in it."""
    seen = f"-seen-{half}" if half not in ("", "adapt") else ""
    return f"{recipe}-{split}-{'all' if limit is None else limit}-{content[:16]}{seen}"


def trajectory_file(recipe: str, half: str) -> str:
    """Return where the folder of a table keeps how a recipe adapted to a half of the test split."""
    return f"{trajectories.FOLDER}/{recipe}-{half or 'adapt'}{trajectories.SUFFIX}"


def answers_file(result: Result) -> str:
    """Return where the folder of a table keeps what a result said about inputs."""
    return f"{kept_answers.FOLDER}/{result.recipe}-{result.half or 'adapt'}{kept_answers.SUFFIX}"


def shipped_folder(suite: str) -> Path:
    """Return the folder of a suite's shipped results."""
    return SHIPPED / _checked(suite)


def cached_folder(suite: str) -> Path:
    """Return the folder of a suite's results in the user's cache."""
    return default_cache() / "results" / _checked(suite)


def read_json(path: Path) -> Any:
    """Return the content of a JSON file, or None where there is none that can be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def write_json(path: Path, value: Any, *, quiet: bool = False) -> None:
    """Write a JSON file aside and rename it; `quiet` lets a full or read-only disk pass."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_bytes(path, text.encode(), quiet=quiet)


def write_bytes(path: Path, data: bytes, *, quiet: bool = False) -> None:
    """Write a file aside and rename it; `quiet` lets a full or read-only disk pass."""
    with contextlib.suppress(OSError) if quiet else contextlib.nullcontext():
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(dir=path.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.chmod(aside, 0o644)
            os.replace(aside, path)
        except BaseException:
            os.unlink(aside)
            raise


def _apart_from(recipe: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return what defines a recipe inside a suite, without one hyper-parameter."""
    parameters = {key: value for key, value in recipe["parameters"].items() if key != name}
    return {"parameters": parameters, **{key: recipe[key] for key in ("experts", "method", "post", "seed")}}


def _checked(suite: str) -> str:
    check_name("suite", suite)
    return suite


def _mean(values: Any) -> float | None:
    defined = [float(value) for value in values if math.isfinite(value)]
    return sum(defined) / len(defined) if defined else None


def _rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Four places: what is shown to one place must not have been rounded to two before, 81.747 is 81.7."""
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in values.items()}
