"""Pickers: pure choices over a set, made ready when the set changes.

Rules of this room:

* A picker is rebound when the set changes, before the new set is shown; it is not asked to look. A
  pick takes no lock, never waits, and costs what `next(itertools.cycle)` costs.
* Suspects are left out as long as the other peers are at least half as many as the set had before;
  below that everybody is picked from, since a lie must not put the load of ten on one.
* Oneself is left out unless `include_self`.
* Nobody to pick raises `NoPeersError`, from `next()` too: an iterator over a picker never ends.
"""

from __future__ import annotations

import itertools
import operator
import random
from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

from .errors import NoPeersError
from .peers import Peer, View, place_of

__all__ = ["Picker", "Random", "RoundRobin", "pickable"]


@runtime_checkable
class Picker(Protocol):
    """Whatever chooses one peer."""

    def pick(self) -> Peer:
        """A peer; `NoPeersError` where there is nobody. Never waits."""
        ...


def pickable(view: View, include_self: bool = False) -> tuple[Peer, ...]:
    """Those who may be picked, in the order of the set."""
    peers = view.peers if include_self else view.peers.others
    confirmed = len(view.peers) - len(view.suspects)
    if not view.suspects or 2 * confirmed < view.before:
        return tuple(peers)
    return tuple(peer for peer in peers if peer.key not in view.suspects)


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

    __slots__ = ("_candidates", "_include_self", "_next")

    def __init__(self, include_self: bool = False) -> None:
        self._include_self = include_self
        self._candidates: tuple[Peer, ...] = ()
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
        candidates = pickable(view, self._include_self)
        if candidates and _same_objects(candidates, self._candidates):
            return
        if candidates:
            self._next = self._begin(candidates)
        else:
            text = f"{view.peers.service}: {_why_nobody(view)}"
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
        return itertools.cycle(candidates[start:] + candidates[:start])


class Random(_Bound):
    """Anybody, each time anew, with equal chances."""

    __slots__ = ()

    def _begin(self, candidates: tuple[Peer, ...]) -> Iterator[Peer]:
        return iter(lambda: random.choice(candidates), None)


def _same_objects(a: tuple[Peer, ...], b: tuple[Peer, ...]) -> bool:
    """Not equality: equal peers of a new set may have more told about them."""
    return len(a) == len(b) and all(map(operator.is_, a, b))


def _why_nobody(view: View) -> str:
    if view.peers.generation == 0:
        return "nobody is known yet"
    if view.peers.me is not None and len(view.peers) == 1:
        return "only this pod itself is there; include_self=True would pick it"
    return "there is nobody to pick"
