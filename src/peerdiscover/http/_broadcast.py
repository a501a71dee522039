"""A broadcast that includes who joins while it runs: whom to call in each round, and the receipt.

Rules of this room (told the time, and what came; no I/O):

* Each round calls those who are there and were not called yet, at the address they have.
* It is over when the set has been still: nobody new, by an answer that was asked for after the last
  call ended, and after the time that the discovery takes between two questions. (Within that time the
  nameserver's cache would only say again what it said.)
* Whoever was seen, if only for a moment, is in the receipt: with a result, with an error, or as one that
  joined and was not called.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import MappingProxyType
from typing import Generic, TypeVar

from peerdiscover.discovery.broadcast import Broadcast, Receipt
from peerdiscover.peers import Change, Peer, PeerSet

__all__ = ["RollingBroadcast"]

T = TypeVar("T")


class RollingBroadcast(Generic[T]):
    """The rounds of one broadcast."""

    def __init__(
        self, peers: Callable[[], PeerSet], limit: int, include_self: bool, until: float = math.inf
    ) -> None:
        self._peers = peers
        self._until = until
        self._generation = -1
        self._still = False
        self._limit = limit
        self._include_self = include_self
        self._seen: dict[Peer, None] = {}
        self._results: dict[Peer, T] = {}
        self._errors: dict[Peer, BaseException] = {}
        Broadcast(peers(), limit=limit)  # refuses a limit that cannot work

    def on_change(self, change: Change) -> None:
        """The set changed while it runs."""
        for peer in (*change.added, *(new for _, new in change.moved)):
            if self._include_self or not peer.is_self:
                self._seen[peer] = None

    def step(self, now: float, next_refresh: float) -> Broadcast[T] | float | None:
        """A round to make now; or for how many seconds the set has to be still; or None: it is over."""
        left = self._until - now
        if self._still or left <= 0:
            return None
        if (due := self._due()) is not None:
            return due
        self._generation = self._peers().generation
        # A source that tells by itself, or never, needs no wait.
        return min(next_refresh if math.isfinite(next_refresh) else 0.0, left)

    def left(self, now: float) -> float | None:
        """What a round may take; None: as long as it takes."""
        return None if self._until == math.inf else max(0.0, self._until - now)

    def was_still(self) -> bool:
        """Whether the set is the one of the last wait."""
        return self._peers().generation == self._generation

    def refreshed(self) -> None:
        """An answer that was asked for after a quiet wait is there."""
        self._still = self.was_still()

    def _due(self) -> Broadcast[T] | None:
        """Those to be called now; None: nobody is new."""
        peers = self._peers()
        for peer in peers if self._include_self else peers.others:
            self._seen[peer] = None
        due = [peer for peer in self._seen if not self._called(peer) and peer in peers]
        if not due:
            return None
        chosen = PeerSet(peers.service, due, generation=peers.generation)
        return Broadcast(chosen, limit=self._limit, include_self=True)

    def record(self, receipt: Receipt[T]) -> None:
        """What a round brought."""
        self._results.update(receipt.results)
        self._errors.update(receipt.errors)

    def receipt(self) -> Receipt[T]:
        """The end."""
        peers = self._peers()
        return Receipt(
            results=MappingProxyType(dict(self._results)),
            errors=MappingProxyType(dict(self._errors)),
            generation=peers.generation,
            joined=tuple(peer for peer in self._seen if not self._called(peer)),
            left=tuple(peer for peer in self._seen if self._called(peer) and peer not in peers),
        )

    def _called(self, peer: Peer) -> bool:
        return peer in self._results or peer in self._errors
