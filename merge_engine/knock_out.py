"""Knocking out: what a merge would be if an expert had never learned a singular component, a matrix, or anything.

    D' = D − Σ_i s_i u_i v_iᵀ    over the components i that are knocked out; D' = 0 for a whole matrix or expert
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from .contract import Context, MergeMethod, Step
from .errors import RecipeError, no_such
from .maths.svd import Factors
from .merged import Merged, StaticMerged
from .problem import MATRIX_KINDS, Problem
from .running import merge_steps
from .tensorwise import PostStep, TensorMerge
from .weights import Weights

WORD = re.compile(r"([^:,|]{1,64})(?::(0|[1-9]\d{0,2})\.([a-z0-9]{1,8})(?::(0|[1-9]\d{0,4}))?)?")
Out = Mapping[str, tuple[int, ...]]  # components by name of the tensor; none named means all of it


@dataclass(frozen=True)
class KnockOut:
    """What one expert loses: component `index` (from 0) of matrix `block`.`kind`, that matrix, or its task vector."""

    expert: str
    block: int | None = None
    kind: str = ""
    index: int | None = None

    @classmethod
    def parse(cls, word: str) -> KnockOut:
        """Return what a word such as `letters:5.fc1:0`, `letters:5.fc1` or `letters` names; RecipeError if nothing."""
        found = WORD.fullmatch(word)
        if not found:
            raise RecipeError(
                f"{word[:80]!r} names nothing to leave out; write an expert, expert:block.matrix or "
                "expert:block.matrix:component, such as letters:5.fc1:0."
            )
        expert, block, kind, index = found.groups()
        return cls(expert, None if block is None else int(block), kind or "", None if index is None else int(index))

    @property
    def word(self) -> str:
        """The word that `parse` reads."""
        place = "" if self.block is None else f":{self.block}.{self.kind}"
        return f"{self.expert}{place}" + ("" if self.index is None else f":{self.index}")

    @property
    def said(self) -> str:
        """The same for readers: `letters 5.fc1 #0`."""
        place = "" if self.block is None else f" {self.block}.{self.kind}"
        return f"{self.expert}{place}" + ("" if self.index is None else f" #{self.index}")

    def covers(self, other: KnockOut) -> bool:
        """Return whether everything that `other` takes away is taken away by this."""
        if self.expert != other.expert:
            return False
        whole = self.block is None
        matrix = (self.block, self.kind) == (other.block, other.kind)
        return whole or (matrix and self.index in (None, other.index))


def canonical(outs: Iterable[KnockOut]) -> tuple[KnockOut, ...]:
    """Return knock-outs in a fixed order, each once and without those that another covers."""
    given = set(outs)
    kept = [one for one in given if not any(other.covers(one) for other in given - {one})]
    return tuple(sorted(kept, key=lambda one: (one.expert, one.block or 0, one.kind, one.index or 0)))


def tensors_of(problem: Problem, out: KnockOut) -> tuple[str, ...]:
    """Return the names of the tensors that a knock-out changes; RecipeError when the problem lacks any part of it."""
    if out.expert not in problem.experts:
        raise RecipeError(no_such("expert of this merge", out.expert, problem.experts))
    if out.block is None:
        return tuple(problem.pretrained)
    place = problem.architecture.place
    matrices = {(p.block, p.kind): name for name in problem.pretrained if (p := place(name)).kind in MATRIX_KINDS}
    name = matrices.get((out.block, out.kind))
    if name is None:
        known = [f"{block}.{kind}" for block, kind in matrices if block is not None]
        raise RecipeError(no_such("matrix of this model", f"{out.block}.{out.kind}", known))
    rank = min(problem.pretrained[name].shape)
    if out.index is not None and out.index >= rank:
        raise RecipeError(f"{out.block}.{out.kind} has the components 0 to {rank - 1}; got {out.index}.")
    return (name,)


def singular_vectors(
    problem: Problem, one: KnockOut, svd: Callable[[Tensor], Factors]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the singular vectors u (m,) and v (n,), float64, of one component of an expert's task matrix.

    Raises RecipeError where the problem lacks it.
    """
    (name,) = tensors_of(problem, one)
    factors = svd(problem.experts[one.expert][name].float() - problem.pretrained[name].float())
    at = one.index or 0
    return factors.U[:, at].double().numpy(), factors.Vh[at].double().numpy()


def knocked_out(problem: Problem, outs: Iterable[KnockOut], svd: Callable[[Tensor], Factors]) -> Problem:
    """Return the problem without what is knocked out; nothing is read or decomposed before a tensor is asked for."""
    taken: dict[str, dict[str, tuple[int, ...]]] = {}
    for out in canonical(outs):
        of_expert = taken.setdefault(out.expert, {})
        for name in tensors_of(problem, out):
            of_expert[name] = () if out.index is None else (*of_expert.get(name, ()), out.index)
    experts = {
        name: KnockedWeights(problem.pretrained, weights, taken[name], svd) if name in taken else weights
        for name, weights in problem.experts.items()
    }
    return dataclasses.replace(problem, experts=experts)


class KnockedWeights(Mapping[str, Tensor]):
    """An expert that lacks some components of its task matrices, or has the pretrained tensor instead of its own."""

    def __init__(self, pretrained: Weights, expert: Weights, out: Out, svd: Callable[[Tensor], Factors]) -> None:
        self.pretrained, self.expert, self.out, self.svd = pretrained, expert, out, svd

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.out:
            return self.expert[name]
        if not self.out[name]:
            return self.pretrained[name]
        own = self.expert[name].float()
        factors, gone = self.svd(own - self.pretrained[name].float()), list(self.out[name])
        return own - Factors(factors.U[:, gone], factors.s[gone], factors.Vh[gone]).matrix()

    def __iter__(self) -> Iterator[str]:
        return iter(self.expert)

    def __len__(self) -> int:
        return len(self.expert)


def without_steps(
    problem: Problem,
    outs: Iterable[KnockOut],
    method: MergeMethod,
    post: tuple[PostStep, ...] = (),
    ctx: Context | None = None,
    whole: Merged | None = None,
) -> Generator[Step, None, Merged]:
    """Merge a problem without what is knocked out, yielding Steps; the generator's return value is the `Merged`.

    `whole` is the same merge with nothing knocked out, where it is known: a method that looks at one tensor group at a
    time then merges only the touched groups again. The other methods, and those followed by post-steps, start over.
    """
    outs, ctx = canonical(outs), ctx or Context()
    given = knocked_out(problem, outs, ctx.svd)
    if not (isinstance(whole, StaticMerged) and isinstance(method, TensorMerge)) or starts_over(method, post):
        return (yield from merge_steps(given, method, post, ctx))
    touched = {name for out in outs for name in tensors_of(problem, out)}
    for joined in problem.architecture.fused(list(problem.pretrained)):
        touched.update(joined if touched & set(joined) else ())
    part = yield from method.run(given, ctx, names=touched)
    untouched = {name: offset for name, offset in whole.offset.items() if name not in part.direction}
    direction, offset = {**whole.direction, **part.direction}, {**untouched, **part.offset}
    return dataclasses.replace(whole, direction=direction, offset=offset)


def starts_over(method: MergeMethod, post: tuple[PostStep, ...] = ()) -> bool:
    """Return whether a merge without something is the whole merge again, however little is knocked out."""
    return bool(post) or not isinstance(method, TensorMerge) or not looks_at_groups(method)


def looks_at_groups(method: TensorMerge) -> bool:
    """Return whether a method merges every tensor group by itself, without statistics of the whole model."""
    return type(method).prepare is TensorMerge.prepare


