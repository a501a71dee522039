"""What speaks against a peer: kept for each peer while it lasts, and weighed by the reconciler."""

from __future__ import annotations

import math
from collections.abc import Collection, Container
from dataclasses import dataclass

_FLAPPING = 2
"""How often a peer came back that flaps."""
_CACHE_SECOND = 1.0
"""Seconds by which a cache may serve an answer for longer than its TTL, since caches count whole ones."""


@dataclass(slots=True, eq=False)
class AbsenceStats:
    """What partial answers that lacked a peer say about it."""

    answers: int = 0
    """How many lacked it since it was last seen."""
    log_chance: float = 0.0
    """Logarithm of the probability that they lacked it by chance."""


@dataclass(slots=True, eq=False)
class _Flap:
    last: float = -math.inf
    """When the peer was last removed, or last came back."""
    returns: int = 0


class Flaps:
    """Peers that were removed lately, and how often each came back within `hold` seconds."""

    def __init__(self, hold: float) -> None:
        self._hold = hold
        self._flaps: dict[str, _Flap] = {}

    def on_removal(self, key: str, now: float) -> None:
        self._flaps.setdefault(key, _Flap()).last = now

    def on_answer(
        self, seen: Collection[str], known: Container[str], suspects: Container[str], now: float
    ) -> None:
        """An answer has the peers `seen`; `known` are those in the set so far."""
        self._flaps = {key: flap for key, flap in self._flaps.items() if now - flap.last <= self._hold}
        for key, flap in self._flaps.items():
            if key in seen:
                is_back = key not in known
                flap.returns += is_back
                if is_back or key in suspects:
                    flap.last = now

    def is_flapping(self, key: str) -> bool:
        """Whether it came back at least twice."""
        return key in self._flaps and self._flaps[key].returns >= _FLAPPING


@dataclass(slots=True, eq=False)
class Suspicion:
    """Why a peer is held."""

    since: float
    """When an answer first lacked it."""
    confirmable_at: float | None = None
    """When a second complete answer may remove it; None: only answers without any peers lacked it."""
    by_name: bool = False
    """All that speaks against it are lookups of its own name."""
    answers: int = 1
    """How many answers lacked it since."""
    _ttl: float = 0.0
    _runs_out: float = -math.inf

    def lacked_by(self, ttl: float, now: float) -> None:
        """A complete answer lacked it, for the first time, or before a second one counts."""
        self._ttl = max(self._ttl, ttl)
        self._runs_out = max(self._runs_out, now + ttl + _CACHE_SECOND)

    def is_lacked_by_the_same(self, ttl: float, now: float) -> bool:
        """Whether an answer with that TTL is one of those again, from a cache: its TTL has run down."""
        return ttl < self._ttl and now + ttl < self._runs_out


def is_same_order(order: tuple[str, ...], before: tuple[str, ...]) -> bool:
    """Whether the peers that two partial answers share, three or more, came in the same order.

    Then the answers are not shuffled, or are one answer from a cache: no independent draws.
    """
    both = set(order).intersection(before)
    return len(both) >= 3 and [k for k in order if k in both] == [k for k in before if k in both]
