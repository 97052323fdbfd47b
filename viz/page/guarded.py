"""What a listener answers when it fails: one sentence in a status line, while the rest of the page lives on."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from typing import Any

from merge_engine.errors import MergeError

from .view import complaint

LOG = logging.getLogger("mergescope")
NOTHING: Mapping[str, Any] = {}


def guarded(part: str, doing: str, also: Mapping[str, Any] = NOTHING) -> Callable[[Callable], Callable]:
    """Return a decorator for a method of something with a `page`: where it fails, `part` says so in a sentence.

    `doing` names the work in that sentence; `also` are other parts to fill then, such as the buttons of what ended.
    """

    def wrap(listener: Callable) -> Callable:
        def told(desk: Any, error: Exception) -> dict[Any, Any]:
            return desk.page.fill({part: complaint(sentence(error, doing)), **also})

        @wraps(listener)
        def answer(desk: Any, *given: Any) -> Any:
            try:
                return listener(desk, *given)
            except Exception as error:
                return told(desk, error)

        @wraps(listener)
        def answers(desk: Any, *given: Any) -> Iterator[Any]:
            try:
                yield from listener(desk, *given)
            except Exception as error:
                yield told(desk, error)

        return answers if inspect.isgeneratorfunction(listener) else answer

    return wrap


def sentence(error: Exception, doing: str) -> str:
    """Return what a visitor is told of an error; one that nobody foresaw goes to the log with its traceback."""
    if isinstance(error, MergeError):
        return str(error)
    LOG.error("%s failed", doing, exc_info=error)
    return f"{doing} failed: {type(error).__name__}: {error}. The log has the details."
