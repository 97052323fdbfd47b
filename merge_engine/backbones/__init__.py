"""Named backbones: the only place that knows an architecture."""

from __future__ import annotations

from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from ..errors import SuiteError
from ..problem import MATRIX_KINDS, Place
from .base import Backbone
from .clip_vision import ClipVision
from .dinov2 import Dinov2
from .text import Bert, Roberta

__all__ = ["BACKBONES", "MATRIX_KINDS", "Backbone", "Place", "get_backbone"]

BACKBONES: dict[str, type[Backbone]] = {family.name: family for family in (Dinov2, ClipVision, Bert, Roberta)}


def get_backbone(name: str, **options: Any) -> Backbone:
    """The backbone of this name; options are the fields of its class, such as input_size or attention."""
    if name not in BACKBONES:
        near = get_close_matches(name, BACKBONES, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"choose one of {', '.join(BACKBONES)}."
        raise SuiteError(f"No backbone named '{name}'; {hint}")
    family = BACKBONES[name]
    allowed = [field.name for field in fields(family)]
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        choices = ", ".join(allowed)
        raise SuiteError(f"Backbone '{name}' has no option '{unknown[0]}'; choose one of {choices}.")
    return family(**options)
