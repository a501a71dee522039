"""Pickers that take turns: an iterator, which `rebind` replaces. Slow starts have shares in eighths."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
from typing import NoReturn, Protocol, runtime_checkable

from peerdiscover.peers import Peer, place_of

from ._base import BasePicker

_EIGHTHS = 8
_SPREAD = (0, 4, 2, 6, 1, 5, 3, 7)
"""The eighths in an order in which each share is spread over a round of eight turns."""


@runtime_checkable
class Picker(Protocol):
    """Anything that chooses one peer."""

    def pick(self) -> Peer:
        """A peer; `NoPeersError` if there is none. Never waits."""
        ...


class _Turns(BasePicker):
    """What both share: the iterator."""

    __slots__ = ("_next",)

    _next: Iterator[Peer]

    def pick(self) -> Peer:
        """The next peer; `NoPeersError` if there is none. Never waits, takes no lock."""
        return next(self._next)

    def __iter__(self) -> Iterator[Peer]:
        return self

    def __next__(self) -> Peer:
        return next(self._next)

    def _bind(self, candidates: tuple[Peer, ...], probes: tuple[Peer, ...]) -> None:
        turns = self._begin(candidates)
        self._next = itertools.chain(probes, turns) if probes else turns

    def _bind_error(self, raise_error: Callable[..., NoReturn]) -> None:
        self._next = iter(raise_error, None)  # it never ends: each `next` raises anew

    def _begin(self, candidates: tuple[Peer, ...]) -> Iterator[Peer]:
        raise NotImplementedError


class RoundRobin(_Turns):
    """All peers in turn.

    It begins at a random place, so that a thousand processes do not begin with the same pod, and keeps
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


class Random(_Turns):
    """A peer at random, with equal chances each time."""

    __slots__ = ()

    def _begin(self, candidates: tuple[Peer, ...]) -> Iterator[Peer]:
        if not self._weights:
            return iter(lambda: random.choice(candidates), None)
        shares = list(itertools.accumulate(self._weights.get(peer.key, 1.0) for peer in candidates))
        return iter(lambda: random.choices(candidates, cum_weights=shares)[0], None)
