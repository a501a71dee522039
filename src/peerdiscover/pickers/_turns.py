"""Pickers that take turns: an iterator, which a rebinding replaces.

Who is on trial is given one call, at once, and no more until the trial is over. Who starts slowly has a
share in eighths.
"""

from __future__ import annotations

import itertools
import operator
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, runtime_checkable

from peerdiscover.errors import NoPeersError
from peerdiscover.peers import Peer, View, place_of

from ._candidates import Zone, checked_zone_choice, on_trial, pickable, why_nobody

__all__ = ["Picker", "Random", "RoundRobin"]


_EIGHTHS = 8
_SPREAD = (0, 4, 2, 6, 1, 5, 3, 7)
"""The eighths in an order in which each share is spread over a round of eight turns."""


@runtime_checkable
class Picker(Protocol):
    """Whatever chooses one peer."""

    def pick(self) -> Peer:
        """A peer; `NoPeersError` where there is nobody. Never waits."""
        ...


class _Raises:
    """An iterator that raises the same kind of error each time."""

    __slots__ = ("_error",)

    def __init__(self, error: Callable[[], Exception]) -> None:
        self._error = error

    def __iter__(self) -> Iterator[Peer]:
        return self

    def __next__(self) -> Peer:
        raise self._error()


class _Bound:
    """What pickers that take turns share: an iterator that a rebinding replaces."""

    __slots__ = ("_candidates", "_include_self", "_next", "_trials", "_weights", "_zone")

    def __init__(self, include_self: bool = False, zone: Zone | None = None) -> None:
        checked_zone_choice(zone)
        self._include_self = include_self
        self._zone = zone
        self._candidates: tuple[Peer, ...] = ()
        self._trials: tuple[Peer, ...] = ()
        self._weights: Mapping[str, float] = {}
        self._next: Iterator[Peer] = _Raises(lambda: NoPeersError("there is nobody to pick"))

    def pick(self) -> Peer:
        """The next peer; `NoPeersError` where there is nobody. Never waits, takes no lock."""
        return next(self._next)

    def __iter__(self) -> Iterator[Peer]:
        return self

    def __next__(self) -> Peer:
        return next(self._next)

    def rebind(self, view: View) -> None:
        """Choose from this set from now on."""
        candidates = pickable(view, self._include_self, self._zone)
        trials, known = on_trial(view, candidates, self._zone), self._trials
        self._trials = trials
        if (
            candidates
            and trials == known
            and view.weights == self._weights
            and _same_objects(candidates, self._candidates)
        ):
            return
        self._weights = view.weights
        if candidates:
            turns = self._begin(candidates)
            fresh = [peer for peer in trials if peer not in known]
            self._next = itertools.chain(fresh, turns) if fresh else turns
        else:
            text = f"{view.peers.service}: {why_nobody(view, self._include_self, self._zone)}"
            self._next = _Raises(lambda: NoPeersError(text))
        self._candidates = candidates

    def end(self, error: Callable[[], Exception]) -> None:
        """From now on each pick raises what `error` makes."""
        self._candidates = ()
        self._next = _Raises(error)

    def forked(self) -> None:
        """In the child of a fork: begin at another place than the parent goes on from."""
        if self._candidates:
            candidates, self._candidates = self._candidates, ()
            self._next = self._begin(candidates)
            self._candidates = candidates

    def _begin(self, candidates: tuple[Peer, ...]) -> Iterator[Peer]:
        raise NotImplementedError


class RoundRobin(_Bound):
    """Everybody in turn.

    It begins at a random place, so that a thousand processes do not begin on the same pod, and keeps
    its place when the set changes.
    """

    __slots__ = ()

    def _begin(self, candidates: tuple[Peer, ...]) -> Iterator[Peer]:
        if self._candidates:
            upcoming = next(self._next)
            start = next((i for i, p in enumerate(candidates) if place_of(p) >= place_of(upcoming)), 0)
        else:
            start = random.randrange(len(candidates))
        order = candidates[start:] + candidates[:start]
        if self._weights:
            share = {peer: _EIGHTHS * self._weights.get(peer.key, 1.0) for peer in order}
            order = tuple(peer for turn in _SPREAD for peer in order if turn < share[peer])
        return itertools.cycle(order)


class Random(_Bound):
    """Anybody, each time anew, with equal chances."""

    __slots__ = ()

    def _begin(self, candidates: tuple[Peer, ...]) -> Iterator[Peer]:
        if not self._weights:
            return iter(lambda: random.choice(candidates), None)
        shares = list(itertools.accumulate(self._weights.get(peer.key, 1.0) for peer in candidates))
        return iter(lambda: random.choices(candidates, cum_weights=shares)[0], None)


def _same_objects(a: tuple[Peer, ...], b: tuple[Peer, ...]) -> bool:
    """Not equality: equal peers of a new set may have more told about them."""
    return len(a) == len(b) and all(map(operator.is_, a, b))
