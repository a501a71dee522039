"""Calling every peer at once, and the receipt for it.

Invariants:

* A peer that was called appears in the receipt once: with a result, or with an error.
* Suspects are called, too: a broadcast that leaves out a living pod would report a lie.
* A call that has not finished by `timeout` counts as an error (`TimeoutError`). A thread cannot be
  stopped, so its late result is discarded. A task is cancelled.
* With `late="report"` the peers of one generation are called; the receipt lists those that joined or left
  meanwhile. With `late="include"` those that join are called, too, until the set has stayed the same for
  as long as the discovery waits between two lookups, and a lookup that began after that confirms it.
  (Before that time the nameserver's cache would only repeat its answer.)

`Broadcast` and `RollingBroadcast` decide whom to call and keep the results; they are given the time, and do
no I/O. `_drivers` calls and waits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, Literal, SupportsIndex, TypeVar

from peerdiscover._text import quoted
from peerdiscover.errors import ConfigurationError
from peerdiscover.peers import Change, Peer, PeerSet

T = TypeVar("T")
Late = Literal["report", "include"]
"""What happens to peers that join during a broadcast: the receipt lists them, or they are called, too."""


@dataclass(frozen=True, slots=True)
class Receipt(Generic[T]):
    """The outcome of a broadcast."""

    results: Mapping[Peer, T]
    """What the call returned, by peer."""
    errors: Mapping[Peer, BaseException]
    """What the call raised, by peer; `TimeoutError` for the calls that did not finish in time."""
    generation: int
    """The generation of the set that was called (with `late="include"`: of the set at the end)."""
    joined: tuple[Peer, ...]
    """Peers that joined, or moved to another address, while it ran and were not called there."""
    left: tuple[Peer, ...]
    """Peers that were called and have left the set since."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "results", MappingProxyType(dict(self.results)))
        object.__setattr__(self, "errors", MappingProxyType(dict(self.errors)))

    def __reduce__(self) -> tuple[object, ...]:
        # A mappingproxy neither pickles nor copies; a dict does.
        parts = dict(self.results), dict(self.errors), self.generation, self.joined, self.left
        return Receipt, parts

    @property
    def complete(self) -> bool:
        """Whether every peer of the set was called and none failed: no error, and no peer joined uncalled."""
        return not self.errors and not self.joined

    def raise_errors(self) -> None:
        """Raise the errors as one `ExceptionGroup` (`BaseExceptionGroup` if one is not an `Exception`)."""
        if self.errors:
            n = len(self.errors)
            raise BaseExceptionGroup(
                f"{n} of {n + len(self.results)} peers failed in a broadcast", list(self.errors.values())
            )


class Broadcast(Generic[T]):
    """One round: the peers to call, and their results. Not thread-safe: the driver locks."""

    def __init__(self, peers: PeerSet, *, limit: int = 32, include_self: bool = False) -> None:
        if not isinstance(limit, SupportsIndex) or limit < 1:  # NumPy's integers, too
            raise ConfigurationError(
                f"broadcast(limit={quoted(limit)}): at least one call at a time is needed"
            )
        self._include_self = include_self
        self._peers = self._of(peers)
        self._generation = peers.generation
        self._waiting: Iterator[Peer] = iter(self._peers)
        self._results: dict[Peer, T] = {}
        self._errors: dict[Peer, BaseException] = {}
        self.closed: bool = False
        """No further peer is called, and no further result counts."""
        self.width: int = min(limit, len(self._peers))
        """How many calls run at once."""

    def _of(self, peers: PeerSet) -> tuple[Peer, ...]:
        return tuple(peers) if self._include_self else peers.others

    @property
    def done(self) -> bool:
        """Whether every peer has answered or failed."""
        return len(self._results) + len(self._errors) == len(self._peers)

    def next(self) -> Peer | None:
        """The next peer to call, or None."""
        return None if self.closed else next(self._waiting, None)

    def returned(self, peer: Peer, value: T) -> None:
        """The call for `peer` returned."""
        if not self.closed:
            self._results[peer] = value

    def raised(self, peer: Peer, error: BaseException) -> None:
        """The call for `peer` raised."""
        if not self.closed:
            error.add_note(f"broadcast to {peer!r}")
            self._errors[peer] = error

    def receipt(self, after: PeerSet, timeout: float | None) -> Receipt[T]:
        """Close the round; `after` is the set as it is now."""
        self.closed = True
        for peer in self._peers:
            if peer not in self._results and peer not in self._errors:
                self._errors[peer] = TimeoutError(f"{peer!r} did not finish within {timeout} s")
        present, called = set(self._of(after)), set(self._peers)
        return Receipt(
            results={p: self._results[p] for p in self._peers if p in self._results},
            errors={p: self._errors[p] for p in self._peers if p in self._errors},
            generation=self._generation,
            joined=tuple(peer for peer in self._of(after) if peer not in called),
            left=tuple(peer for peer in self._peers if peer not in present),
        )


class RollingBroadcast(Generic[T]):
    """`late="include"`: a first round for the peers that are there, and one for each batch that joins.

    A peer that was in the set at any moment is in the receipt: with a result, with an error, or as one
    that joined and was not called.
    """

    def __init__(
        self, peers: Callable[[], PeerSet], limit: int, include_self: bool, deadline: float = math.inf
    ) -> None:
        self._peers = peers
        self._deadline = deadline
        self._generation = -1
        self._settled = False
        self._limit = limit
        self._include_self = include_self
        self._seen: dict[Peer, None] = {}
        """Added to by `on_change`, which another thread may call: iterate over a copy."""
        self._results: dict[Peer, T] = {}
        self._errors: dict[Peer, BaseException] = {}
        Broadcast(peers(), limit=limit)  # refuses a limit that cannot work

    def on_change(self, change: Change) -> None:
        """The set changed while the broadcast runs."""
        for peer in (*change.added, *(new for _, new in change.moved)):
            if self._include_self or not peer.is_self:
                self._seen[peer] = None

    def step(self, now: float, next_refresh: float) -> Broadcast[T] | float | None:
        """A round to run; or for how many seconds the set has to stay the same; or None at the end."""
        left = self._deadline - now
        if self._settled or left <= 0:
            return None
        if (due := self._due()) is not None:
            return due
        self._generation = self._peers().generation
        # A source that is watched, or never asked again, needs no wait.
        return min(next_refresh if math.isfinite(next_refresh) else 0.0, left)

    def left(self, now: float) -> float | None:
        """How many seconds a round may take; None: no limit."""
        return None if self._deadline == math.inf else max(0.0, self._deadline - now)

    def changed(self) -> bool:
        """Whether the set is another than when the last wait began."""
        return self._peers().generation != self._generation

    def refreshed(self) -> None:
        """A lookup that began after a quiet wait was answered."""
        self._settled = not self.changed()

    def _due(self) -> Broadcast[T] | None:
        """The peers that were not called yet; None: every peer was."""
        peers = self._peers()
        for peer in peers if self._include_self else peers.others:
            self._seen[peer] = None
        due = [peer for peer in list(self._seen) if not self._called(peer) and peer in peers]
        if not due:
            return None
        chosen = PeerSet(peers.service, due, generation=peers.generation)
        return Broadcast(chosen, limit=self._limit, include_self=True)

    def record(self, receipt: Receipt[T]) -> None:
        """Add the results of a round."""
        self._results.update(receipt.results)
        self._errors.update(receipt.errors)

    def receipt(self) -> Receipt[T]:
        """The receipt for all rounds."""
        peers = self._peers()
        return Receipt(
            results=self._results,
            errors=self._errors,
            generation=peers.generation,
            joined=tuple(peer for peer in list(self._seen) if not self._called(peer)),
            left=tuple(peer for peer in list(self._seen) if self._called(peer) and peer not in peers),
        )

    def _called(self, peer: Peer) -> bool:
        return peer in self._results or peer in self._errors
