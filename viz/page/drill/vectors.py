"""The singular vectors of the chosen pair of components, or of the pair that meets most, for their panel."""

from __future__ import annotations

import numpy as np

from merge_engine.knock_out import KnockOut, singular_vectors
from merge_engine.metrics.joint_overlap import JointOverlap
from merge_engine.runs.first_look import stored_vectors
from merge_engine.suite import load_suite
from viz import places
from viz.panel import Drawing, draw
from viz.panels import collisions, vectors
from viz.panels.collisions import Pair
from viz.panels.vectors import Vectors

from ..session import Session
from ..workbench import Workbench
from . import knock


def vectors_part(bench: Workbench, session: Session, measured: JointOverlap) -> Drawing | str:
    """Return the panel of a pair in the matrix that the session looks at, empty where no two components meet."""
    row, pair = places.row(measured, session.block, session.kind), knock.chosen(session)
    if len(pair) != 2:
        pair = tuple(end for one in collisions.strongest(measured, row, 1) for end in _ends(session, one))
    if len(pair) != 2:
        return draw(vectors, None)
    key = "|".join((session.suite, *(one.word for one in pair)))
    words = places.words(measured, row)
    return bench.drawn.text(
        "vectors", key, (measured,), lambda: draw(vectors, vectors_of(bench, session, pair[0], pair[1], words))
    )


def _ends(session: Session, pair: Pair) -> tuple[KnockOut, KnockOut]:
    place = session.block, session.kind
    return KnockOut(pair.expert, *place, pair.index), KnockOut(pair.other, *place, pair.across)


def vectors_of(bench: Workbench, session: Session, one: KnockOut, other: KnockOut, place: str) -> Vectors:
    """Return the singular vectors of two components of one matrix."""
    suite, found = load_suite(session.suite), []
    for each in (one, other):
        known = stored_vectors(suite, each)
        found.append(known or singular_vectors(suite.problem((each.expert,)), each, bench.svd))
    first, second = (collisions.name(each.expert, each.index or 0) for each in (one, other))
    (u, v), (across_u, across_v) = found
    return Vectors.of((first, second), place, np.stack([u, across_u]), np.stack([v, across_v]))
