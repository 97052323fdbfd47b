"""Everything that can go wrong with an input, as one tree.

MergeError
├── RecipeError    a method, parameter or post-step that does not exist or is out of range
├── WeightsError   a checkpoint that cannot be read, or does not fit the pretrained model
├── SuiteError     a suite that is missing, incomplete or inconsistent
├── DataError      a method asked for inputs that the problem does not have
└── MissingExtra   an optional package is needed

A message is one sentence: what is wrong, where, what was got, what is allowed, what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MergeError(Exception):
    """A problem with what the user gave; `str(error)` is the sentence to show."""


class RecipeError(MergeError):
    """A method, parameter or post-step does not exist or is out of range."""


class WeightsError(MergeError):
    """A checkpoint cannot be read, or does not fit the pretrained model."""


class SuiteError(MergeError):
    """A suite is missing, incomplete or inconsistent."""


class DataError(MergeError):
    """A method needs inputs that this problem does not have."""


class MissingExtra(MergeError):
    """An optional package is needed and not installed."""


def no_such(what: str, name: str, known: Iterable[str]) -> str:
    """Return the sentence for an unknown name, with the nearest known one."""
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.6)
    hint = f" Did you mean '{near[0]}'?" if near else f" Known: {', '.join(known)}."
    return f"No {what} named '{name}'.{hint}"
