"""What a measurement returns: named arrays over rows of tensors, and the table of any of them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import RecipeError, no_such

LEVELS = ("all", "part", "block", "kind", "tensor")
MERGED = "merged"


@dataclass(frozen=True)
class Row:
    """One row: a tensor, or the tensors of a block, of a kind (`fc1`), of a part (`attention`, `mlp`), or all."""

    level: str
    tensor: str = ""
    block: int | None = None
    kind: str = ""

    @property
    def label(self) -> str:
        """The row in words."""
        words = {"all": "all tensors", "block": f"block {self.block}", "tensor": self.tensor}
        return words.get(self.level, self.kind)


@dataclass(frozen=True)
class Quantity:
    """Declaration of one array of a measurement, as read back from its dataclass.

    `axes` are taken from row, expert, other (a second expert), index (a rank, bin or count) and across (the other
    expert's rank). `chance` names the array that holds what unrelated experts would show; `symmetric` says that
    expert and other can be exchanged.
    """

    name: str
    axes: tuple[str, ...]
    help: str
    symmetric: bool = False
    chance: str = ""


def quantity(axes: str, help: str, *, symmetric: bool = False, chance: str = "") -> dict[str, Any]:
    """Return the metadata that declares an array of a measurement; its axes are separated by spaces."""
    given = {"axes": tuple(axes.split()), "help": help, "symmetric": symmetric, "chance": chance}
    return {"quantity": given}


@dataclass(frozen=True, eq=False)
class Measured:
    """Arrays over `rows` and `models`: the experts' tasks, then `merged` where a merge was measured beside them.

    Missing values are NaN: the quantity is undefined there, such as the angle to a zero task vector.
    """

    models: tuple[str, ...]
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        sizes = {"row": len(self.rows), "expert": len(self.models), "other": len(self.models)}
        for name, what in self.quantities().items():
            array = np.asarray(getattr(self, name), dtype=np.float64)
            expected = tuple(sizes.get(axis, size) for axis, size in zip(what.axes, array.shape, strict=False))
            if array.ndim != len(what.axes) or array.shape != expected:
                raise ValueError(f"{name} has shape {array.shape}; its axes are {', '.join(what.axes)}.")
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @classmethod
    def quantities(cls) -> dict[str, Quantity]:
        """Return the declared arrays by name."""
        found = ((f.name, f.metadata.get("quantity")) for f in dataclasses.fields(cls))
        return {name: Quantity(name, **given) for name, given in found if given}

    def indices(self, level: str) -> list[int]:
        """Return the positions of the rows of a level, in order of depth."""
        return [i for i, row in enumerate(self.rows) if row.level == level]

    def index(self, level: str, which: str | int | None = None) -> int:
        """Return the position of one row, such as ("block", 3), ("kind", "fc1") or ("all",)."""
        keys = {i: (r.tensor or (r.kind if r.block is None else r.block)) for i, r in enumerate(self.rows)}
        found = [i for i in self.indices(level) if which is None or keys[i] == which]
        if not found:
            known = [str(keys[i]) for i in self.indices(level)]
            raise RecipeError(no_such(f"row of level '{level}'", str(which), known))
        return found[0]


def table(
    measured: Measured, *, quantities: Iterable[str] | None = None, levels: Iterable[str] | None = None
) -> list[dict[str, Any]]:
    """Return any measurement as rows with the columns level, tensor, block, kind, expert, other and the values.

    Curves come only when named in `quantities`, with the columns index and across; index counts from 0. A symmetric
    pair comes once, missing values are None, and a chance level is repeated beside what it belongs to.
    """
    declared = measured.quantities()
    for name in quantities or ():
        if name not in declared:
            raise RecipeError(no_such("quantity of this measurement", name, declared))
    shown = [q for n, q in declared.items() if (n in quantities if quantities is not None else "index" not in q.axes)]
    shape = {axis: None for axis in ("index", "across") if any(axis in q.axes for q in shown)}
    blank = shape | {q.name: None for q in shown}
    rows: list[dict[str, Any]] = []
    for axes, symmetric in dict.fromkeys((q.axes, q.symmetric) for q in shown):
        columns = [q for q in shown if (q.axes, q.symmetric) == (axes, symmetric)]
        chances = {q.chance for q in columns}
        columns += [q for q in shown if q.name in chances and set(q.axes) < set(axes)]
        for at in _positions(measured, columns[0]):
            row = measured.rows[at["row"]] if "row" in at else Row("all")
            values = {q.name: _value(getattr(measured, q.name)[tuple(at[a] for a in q.axes)]) for q in columns}
            if row.level in (levels or LEVELS) and ("index" not in at or set(values.values()) != {None}):
                rows.append({**_place(measured, row, at), **blank, **{a: at[a] for a in shape if a in at}, **values})
    return rows


def _positions(measured: Measured, what: Quantity) -> Iterator[dict[str, int]]:
    """Yield an index by axis for every entry of an array, each symmetric pair once."""
    for position in np.ndindex(getattr(measured, what.name).shape):
        at = dict(zip(what.axes, position, strict=True))
        if not what.symmetric or at["expert"] < at["other"]:
            yield at


def _place(measured: Measured, row: Row, at: dict[str, int]) -> dict[str, Any]:
    names = {axis: measured.models[at[axis]] if axis in at else None for axis in ("expert", "other")}
    place = {"level": row.level, "tensor": row.tensor or None, "block": row.block, "kind": row.kind or None}
    return place | names


def _value(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None
