"""Changes as one reader sees them: what it was given last, and what it is given next.

A reader is given differences between sets, never the history between them: so a slow reader misses no
peer, and no queue grows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from peerdiscover.peers import Change, PeerSet


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait for so many seconds, or until the set has another generation than this one."""

    seconds: float
    generation: int


class ChangeCursor:
    """The set that one reader saw last."""

    __slots__ = ("last",)

    def __init__(self, last: PeerSet) -> None:
        self.last = last

    def advance(self, now: PeerSet) -> Change | None:
        """The difference to the set that the reader saw last, or None if there is none."""
        if now is self.last:
            return None
        change = Change.between(self.last, now)
        self.last = now
        return change or None


class ChangeReader:
    """One iteration over changes: the first adds what is known, each later one is the difference."""

    __slots__ = ("_closed", "_cursor", "_peers", "change")

    def __init__(self, peers: Callable[[], PeerSet], closed: Callable[[], bool]) -> None:
        self._peers = peers
        self._closed = closed
        self._cursor = ChangeCursor(PeerSet(peers().service))
        self.change: Change | None = None
        """The next change to hand over; None at the end."""

    def ready(self) -> bool:
        """Whether there is a change to hand over, or the discovery is closed."""
        self.change = self._cursor.advance(self._peers())
        return self.change is not None or self._closed()
