"""What the page keeps in memory between clicks: merges within a bound of bytes, and who may still compute."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field

from merge_engine.merged import Merged, PerTaskMerged, StaticMerged

SESSIONS = 1000
HEAVY = ("sweep ", "landscape ")  # purposes that share the queue of merges; a visitor's own name is that of a merge
LATE = 600.0  # seconds after which a visitor who still waits has probably left


def kept_bytes(merged: Merged) -> int:
    """Return what a merge adds to the pretrained model in memory."""
    if isinstance(merged, StaticMerged):
        tensors = (*merged.direction.values(), *merged.offset.values())
        return sum(t.numel() * t.element_size() for t in tensors)
    if isinstance(merged, PerTaskMerged):
        return int(4 * sum(part.stored_parameters for part in merged.parts.values()))
    return int(4 * merged.stored_parameters)


@dataclass(frozen=True)
class Kept:
    """A merge, its size in memory and the seconds it took."""

    merged: Merged
    size: int
    seconds: float


class Shelf:
    """Merges by key, the least recently used one leaving first; the newest always stays."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, key: str) -> bool:
        return key in self._kept

    def get(self, key: str) -> Merged | None:
        """Return a merge and mark it as used, or None."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key].merged

    def seconds(self, key: str) -> float:
        """Return how long a merge took; not a number when it is not kept."""
        found = self._kept.get(key)
        return found.seconds if found else float("nan")

    def put(self, key: str, merged: Merged, seconds: float = 0.0) -> None:
        """Keep a merge, letting go of older ones until the bound holds."""
        with self._lock:
            self._kept[key] = Kept(merged, kept_bytes(merged), seconds)
            self._kept.move_to_end(key)
            while len(self._kept) > 1 and sum(kept.size for kept in self._kept.values()) > self.limit:
                self._kept.popitem(last=False)


@dataclass
class Ticket:
    """Leave to compute `what`; ended by a newer wish of the same visitor, or cancelled by a button.

    `done` names the parts that are on the visitor's page.
    """

    what: str
    done: set[str] = field(default_factory=set)
    ended: bool = False
    cancelled: bool = False
    since: float = field(default_factory=time.monotonic)

    def going(self) -> bool:
        """Return whether the work should go on."""
        return not self.ended


class Tickets:
    """One running computation per visitor and purpose."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, Ticket] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, visitor: str, what: str) -> Ticket:
        """Return a ticket; the one that the visitor held ends."""
        self.want(visitor, "")
        with self._lock:
            ticket = self._held[visitor] = Ticket(what)
            self._held.move_to_end(visitor)
            while len(self._held) > SESSIONS:
                self._held.popitem(last=False)[1].ended = True
            return ticket

    def held(self, visitor: str) -> Ticket:
        """Return the visitor's last ticket, or one for nothing."""
        return self._held.get(visitor) or Ticket("")

    def ahead(self, visitor: str) -> int:
        """Return how many computations of other visitors wait or run in the queue of merges."""
        with self._lock:
            held = [*self._held.items()]
        heavy = [ticket for name, ticket in held if " " not in name or name.startswith(HEAVY)]
        own = self.held(visitor)
        late = time.monotonic() - LATE
        return sum(t is not own and bool(t.what) and t.going() and t.since > late for t in heavy)

    def want(self, visitor: str, what: str) -> None:
        """End the visitor's computation unless it is this one."""
        held = self._held.get(visitor)
        if held is not None and held.what != what:
            held.ended = True

    def cancel(self, visitor: str) -> None:
        """End the visitor's computation because the visitor said so."""
        held = self._held.get(visitor)
        if held is not None:
            held.cancelled = held.ended = True
