"""What all pickers share: they are bound to a set, and bound anew when it changes.

Invariants:

* A pick reads one attribute, and what it finds there is replaced, never changed: so it needs no lock,
  and comes from one set or the next, never from a mixture.
* Without peers, what that attribute holds raises the error.
* A half-open peer is given one call (a probe), at once, and no more until it is picked as usual again.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import NoReturn

from peerdiscover.errors import NoPeersError
from peerdiscover.peers import Peer, View

from ._candidates import Zone, checked_zone_choice, half_open, pickable, why_none


class BasePicker:
    """A picker, as a discovery uses it."""

    __slots__ = ("_candidates", "_include_self", "_probes", "_weights", "_zone", "last_answer_summary")

    def __init__(self, include_self: bool = False, zone: Zone | None = None) -> None:
        checked_zone_choice(zone)
        self._include_self = include_self
        self._zone: Zone | None = zone
        self._candidates: tuple[Peer, ...] = ()
        self._probes: tuple[Peer, ...] = ()
        self._weights: Mapping[str, float] = {}
        self.last_answer_summary: Callable[[], str] | None = None
        """Describes the last answer, for `NoPeersError`; called when that is raised."""
        self.end(lambda: self._no_peers_error("no peers available"))

    def rebind(self, view: View) -> None:
        """Choose from this set from now on."""
        candidates, probes = self._choose(view)
        known, self._probes = self._probes, probes
        if (
            candidates
            and probes == known
            and view.weights == self._weights
            and _same_objects(candidates, self._candidates)
        ):
            return
        self._weights = view.weights
        if candidates:
            had = set(known)
            self._bind(candidates, tuple(peer for peer in probes if peer not in had))
        else:
            text = f"{view.peers.service}: {why_none(view, self._include_self, self._zone)}"
            self.end(lambda: self._no_peers_error(text))
        self._candidates = candidates

    def end(self, error: Callable[[], Exception]) -> None:
        """From now on each pick raises what `error` returns."""

        def raise_error(*_: object) -> NoReturn:
            raise error()

        self._bind_error(raise_error)

    def after_fork(self) -> None:
        """In the child of a fork: the parent's threads do not count here, nor their place."""
        if self._candidates:
            candidates, self._candidates = self._candidates, ()
            self._bind(candidates, ())
            self._candidates = candidates

    def _no_peers_error(self, text: str) -> NoPeersError:
        return NoPeersError(
            text if self.last_answer_summary is None else f"{text}; {self.last_answer_summary()}"
        )

    def _choose(self, view: View) -> tuple[tuple[Peer, ...], tuple[Peer, ...]]:
        """The peers to pick from, in the order of the set, and those to be given one call beside them."""
        candidates = pickable(view, self._include_self, self._zone)
        return candidates, half_open(view, candidates, self._include_self, self._zone)

    def _bind(self, candidates: tuple[Peer, ...], probes: tuple[Peer, ...]) -> None:
        """Pick `probes` once each, then the candidates. `_candidates` are those from before, if any."""
        raise NotImplementedError

    def _bind_error(self, raise_error: Callable[..., NoReturn]) -> None:
        """Call this at each pick."""
        raise NotImplementedError


def _same_objects(a: tuple[Peer, ...], b: tuple[Peer, ...]) -> bool:
    """Not equality: of equal peers of a new set more may be known."""
    return len(a) == len(b) and all(map(operator.is_, a, b))
