"""What a panel draws of the pinned run beside the same of the run on the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Pin(Generic[T]):
    """The data of the run that is pinned as `letter`, of the kind that the panel draws."""

    letter: str
    data: T

    @property
    def less(self) -> str:
        """The words of a view that draws the run on the page minus this one."""
        return f"− {self.letter}"
