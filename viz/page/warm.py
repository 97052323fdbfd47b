"""Read what the first visitor will need while the page is already being served."""

from __future__ import annotations

import logging

from merge_engine.errors import MergeError
from merge_engine.suite import load_suite, suite_folders

from .workbench import Workbench

LOG = logging.getLogger("mergescope")


def warm_up(bench: Workbench) -> None:
    """Open the default suite: its hashes, its backbone, its pretrained weights and its pictures; time this machine."""
    for name in sorted(suite_folders(), key=lambda n: n != "pictures")[:1]:
        try:
            suite = load_suite(name)
            bench.record.baselines(name)
            suite.problem(suite.experts[:1] or None)
            for task in suite.tasks:
                suite.prepared(task, "score")
            bench.costs.calibrate(suite)
        except MergeError as error:
            LOG.warning("%s", error)
