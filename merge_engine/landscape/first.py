"""The landscape that the page opens with, stored so that nobody waits for it."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import torch

from ..contract import Step
from ..precision import KNOWN
from ..runs.results import write_json
from ..suite import Suite
from .corners import PRETRAINED
from .disentanglement import DisentanglementSurvey
from .path import PathSurvey
from .stored import FOLDER
from .surface import PlaneSurvey

PICTURES, DETAIL = 16, 21
Surveys = tuple[PlaneSurvey, PathSurvey, DisentanglementSurvey]


def first_surveys(suite: Suite, dtype: torch.dtype) -> Surveys:
    """Return the plane through the pretrained model and the first two experts, their line and their map."""
    pair = suite.experts[:2]
    return (
        PlaneSurvey(suite, (PRETRAINED, *pair), PICTURES, dtype=dtype),
        PathSurvey(suite, pair, PICTURES, dtype=dtype),
        DisentanglementSurvey(suite, pair, PICTURES, dtype=dtype),
    )


def survey_steps(suite: Suite, folder: Path) -> Generator[Step, None, list[Path]]:
    """Measure them in every precision that a page may score in, one file each, yielding Steps; returns the files."""
    files = []
    for dtype in KNOWN.values():
        for survey in first_surveys(suite, dtype):
            yield from survey.steps(DETAIL)
            files.append(folder / FOLDER / survey.stored.file.name)
            write_json(files[-1], survey.stored.found)
    return files
