"""Least requests: of two peers drawn at random, the one with fewer requests in flight.

Two choices keep a slow pod from getting more than it can do, and need no order among all. A picker that
took the least loaded of all would send everything to a pod that just came (Mitzenmacher, "The Power of
Two Choices in Randomized Load Balancing", 1996).

Invariants:

* A request is counted here, from the beginning of a `with picker.lease()` to its end. What other clients
  do is not known.
* The count of a peer is the length of a deque: to append to it and to pop from it are single steps for
  threads, so that no lock is taken. It belongs to the peer's key: it outlives a change of the set, and
  of the peer's address.
* A peer that starts slowly is drawn less often; a half-open one is chosen once, whatever it has in flight.
"""

from __future__ import annotations

import itertools
from bisect import bisect
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from random import random
from types import TracebackType
from typing import NoReturn

from peerdiscover.peers import Peer

from ._base import BasePicker
from ._candidates import Zone

_InFlight = deque[None]
_Draw = Callable[[], tuple[Peer, _InFlight]]


@dataclass(slots=True, eq=False, repr=False)
class Lease:
    """One request to one peer: `with picker.lease() as peer: …`. A plain `with`, in async code too."""

    _draw: _Draw
    _in_flight: _InFlight | None = None

    def __enter__(self) -> Peer:
        if self._in_flight is not None:
            raise RuntimeError("a lease is for one request: call lease() for each `with`")
        peer, in_flight = self._draw()
        in_flight.append(None)
        self._in_flight = in_flight
        return peer

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        in_flight, self._in_flight = self._in_flight, None
        if in_flight is not None:
            in_flight.pop()


class LeastRequests(BasePicker):
    """Of two peers drawn at random, the one with fewer requests in flight.

    There is no `pick`: the `with` has to say when a request ends.
    """

    __slots__ = ("_draw", "_in_flight")

    _draw: _Draw

    def __init__(self, include_self: bool = False, zone: Zone | None = None) -> None:
        self._in_flight: dict[str, _InFlight] = {}
        super().__init__(include_self, zone)

    def lease(self) -> Lease:
        """`with picker.lease() as peer:` chooses when it is entered; `NoPeersError` if there is no peer.

        The request counts as in flight until the `with` ends, however it does.
        """
        return Lease(self._draw_now)

    def after_fork(self) -> None:
        """In the child of a fork: what the parent's threads have in flight is not the child's."""
        self._in_flight = {}
        super().after_fork()

    def _draw_now(self) -> tuple[Peer, _InFlight]:
        return self._draw()

    def _bind(self, candidates: tuple[Peer, ...], probes: tuple[Peer, ...]) -> None:
        known = self._in_flight
        # A peer that left with requests in flight may be back before they end.
        counts = {key: in_flight for key, in_flight in known.items() if in_flight}
        for peer in candidates + probes:
            counts[peer.key] = known[peer.key] if peer.key in known else deque()
        self._in_flight = counts
        slots = [(peer, counts[peer.key]) for peer in candidates]
        if self._weights:
            draw = _of_two_by_share(slots, [self._weights.get(peer.key, 1.0) for peer in candidates])
        else:
            draw = _of_two(slots)
        self._draw = _first(deque((peer, counts[peer.key]) for peer in probes), draw) if probes else draw

    def _bind_error(self, raise_error: Callable[..., NoReturn]) -> None:
        self._draw = raise_error


def _of_two(slots: list[tuple[Peer, _InFlight]]) -> _Draw:
    """Two different peers, each with the same chance."""
    count, others = len(slots), len(slots) - 1
    if not others:
        return lambda: slots[0]

    def draw() -> tuple[Peer, _InFlight]:
        i, j = int(random() * count), int(random() * others)
        one, other = slots[i], slots[j if j < i else j + 1]
        return one if len(one[1]) <= len(other[1]) else other

    return draw


def _of_two_by_share(slots: list[tuple[Peer, _InFlight]], shares: list[float]) -> _Draw:
    """Two peers, each with the chance of its share; they may be the same one."""
    *limits, total = itertools.accumulate(shares)

    def draw() -> tuple[Peer, _InFlight]:
        one, other = slots[bisect(limits, random() * total)], slots[bisect(limits, random() * total)]
        return one if len(one[1]) <= len(other[1]) else other

    return draw


def _first(probes: deque[tuple[Peer, _InFlight]], then: _Draw) -> _Draw:
    """Each of the probes once, then what `then` draws."""

    def draw() -> tuple[Peer, _InFlight]:
        with suppress(IndexError):
            return probes.popleft()
        return then()

    return draw
