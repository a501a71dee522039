"""What speaks against a peer: kept for each while it lasts, and weighed in `reconciler`."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["AbsenceStats", "Flap", "Suspicion"]

_CACHE_SECOND = 1.0
"""Seconds by which a cache may give an answer for longer than the TTL that it told."""


@dataclass(slots=True, eq=False)
class AbsenceStats:
    """What partial answers that lacked a peer say of it."""

    answers: int = 0
    """How many lacked it since it was last seen."""
    log_chance: float = 0.0
    """Logarithm of the probability that they lacked it by chance."""


@dataclass(slots=True, eq=False)
class Flap:
    """That a peer went, and whether it came back."""

    last: float = -math.inf
    """When it last went or came."""
    returns: int = 0
    """How often it came back within `hold`."""


@dataclass(slots=True, eq=False)
class Suspicion:
    """Why a peer is held."""

    since: float
    """When an answer first lacked it."""
    confirmable_at: float | None = None
    """From when on a second complete answer removes it; None: only answers of "nobody" speak against it."""
    by_name: bool = False
    """All that speaks against it are questions for its own name."""
    answers: int = 1
    """How many answers lacked it since."""
    _ttl: float = 0.0
    _runs_out: float = -math.inf

    def lacked_by(self, ttl: float, now: float) -> None:
        """A complete answer lacked it, for the first time, or before a second one counts."""
        self._ttl = max(self._ttl, ttl)
        self._runs_out = max(self._runs_out, now + ttl + _CACHE_SECOND)

    def is_lacked_by_the_same(self, ttl: float, now: float) -> bool:
        """Whether an answer with that TTL is one of those, out of a cache: its TTL has run down."""
        return ttl < self._ttl and now + ttl < self._runs_out
