"""Least requests: of two peers drawn at random, the one with fewer requests under way.

Two choices keep a slow pod from getting more than it can do, and need no order among all. A picker that
took the least loaded of all would send everything to a pod that just came (Mitzenmacher, "The Power of
Two Choices in Randomized Load Balancing", 1996).

Rules of this room:

* What is under way is counted here, from the beginning of a `with picker.lease()` to its end. What other
  clients do is not known.
* The count of a peer is the length of a deque: to append to it and to pop from it are single steps for
  threads, so that no lock is taken. It belongs to the peer's key: it outlives a change of the set, and
  of the peer's address.
* Who starts slowly is drawn less often; who is on trial is chosen once, whatever it has under way.
"""

from __future__ import annotations

import itertools
from bisect import bisect
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from random import random
from types import TracebackType

from peerdiscover.peers import Peer

from ._base import BasePicker
from ._candidates import Zone

__all__ = ["Lease", "LeastRequests"]

_UnderWay = deque[None]
_Draw = Callable[[], tuple[Peer, _UnderWay]]


class Lease:
    """One request to one peer: `with picker.lease() as peer: …`. A plain `with`, in async code too."""

    __slots__ = ("_draw", "_under_way")

    def __init__(self, draw: _Draw) -> None:
        self._draw = draw
        self._under_way: _UnderWay | None = None

    def __enter__(self) -> Peer:
        if self._under_way is not None:
            raise RuntimeError("a lease is for one request: call lease() for each `with`")
        peer, under_way = self._draw()
        under_way.append(None)
        self._under_way = under_way
        return peer

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.pop()


class LeastRequests(BasePicker):
    """Of two drawn at random, the peer with fewer requests under way.

    There is no `pick`: somebody must say when a request is over, and the `with` does.
    """

    __slots__ = ("_draw", "_under_way")

    _draw: _Draw

    def __init__(self, include_self: bool = False, zone: Zone | None = None) -> None:
        self._under_way: dict[str, _UnderWay] = {}
        super().__init__(include_self, zone)

    def lease(self) -> Lease:
        """`with picker.lease() as peer:` chooses when it is entered; `NoPeersError` where nobody is there.

        The request counts as under way until the `with` ends, however it does.
        """
        return Lease(self._draw_now)

    def after_fork(self) -> None:
        """In the child of a fork: what the parent's threads have under way is not the child's."""
        self._under_way = {}
        super().after_fork()

    def _draw_now(self) -> tuple[Peer, _UnderWay]:
        return self._draw()

    def _bind(self, candidates: tuple[Peer, ...], trials: tuple[Peer, ...]) -> None:
        known = self._under_way
        # Whoever is gone with something under way may be back before that is over.
        counts = {key: under_way for key, under_way in known.items() if under_way}
        for peer in candidates + trials:
            counts[peer.key] = known[peer.key] if peer.key in known else deque()
        self._under_way = counts
        slots = [(peer, counts[peer.key]) for peer in candidates]
        if self._weights:
            draw = _of_two_by_share(slots, [self._weights.get(peer.key, 1.0) for peer in candidates])
        else:
            draw = _of_two(slots)
        self._draw = _first(deque((peer, counts[peer.key]) for peer in trials), draw) if trials else draw

    def _bind_error(self, error: Callable[[], Exception]) -> None:
        def draw() -> tuple[Peer, _UnderWay]:
            raise error()

        self._draw = draw


def _of_two(slots: list[tuple[Peer, _UnderWay]]) -> _Draw:
    """Two different ones, each with the same chance."""
    count, others = len(slots), len(slots) - 1
    if not others:
        return lambda: slots[0]

    def draw() -> tuple[Peer, _UnderWay]:
        i, j = int(random() * count), int(random() * others)
        one, other = slots[i], slots[j if j < i else j + 1]
        return one if len(one[1]) <= len(other[1]) else other

    return draw


def _of_two_by_share(slots: list[tuple[Peer, _UnderWay]], shares: list[float]) -> _Draw:
    """Two, each with the chance of its share; they may be the same."""
    *limits, total = itertools.accumulate(shares)

    def draw() -> tuple[Peer, _UnderWay]:
        one, other = slots[bisect(limits, random() * total)], slots[bisect(limits, random() * total)]
        return one if len(one[1]) <= len(other[1]) else other

    return draw


def _first(trials: deque[tuple[Peer, _UnderWay]], then: _Draw) -> _Draw:
    """Each of those once."""

    def draw() -> tuple[Peer, _UnderWay]:
        with suppress(IndexError):
            return trials.popleft()
        return then()

    return draw
