"""Reading changes: what one reader was told last, and what it is told next.

A reader is told differences between sets, never what happened in between: so a slow one misses no peer,
and no queue grows.
"""

from __future__ import annotations

from collections.abc import Callable

from peerdiscover.peers import Change, PeerSet

__all__ = ["ChangeCursor", "ChangeReader"]


class ChangeCursor:
    """What one reader of changes was told last."""

    __slots__ = ("last",)

    def __init__(self, last: PeerSet) -> None:
        self.last: PeerSet = last

    def advance(self, now: PeerSet) -> Change | None:
        """The difference to what was told last, or None; what is returned counts as told."""
        if now is self.last:
            return None
        change = Change.between(self.last, now)
        self.last = now
        return change or None


class ChangeReader:
    """One iteration over changes: the first adds what is known, each later one is the difference."""

    __slots__ = ("_cursor", "_over", "_peers", "change")

    def __init__(self, peers: Callable[[], PeerSet], over: Callable[[], bool]) -> None:
        self._peers = peers
        self._over = over
        self._cursor = ChangeCursor(PeerSet(peers().service))
        self.change: Change | None = None
        """What is to be handed over next; None at the end."""

    def ready(self) -> bool:
        """Whether there is a change to hand over, or the end."""
        self.change = self._cursor.advance(self._peers())
        return self.change is not None or self._over()
