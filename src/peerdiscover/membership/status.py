"""The state of a discovery at one moment, as numbers for metrics; `explaining` says it in words."""

from __future__ import annotations

from dataclasses import dataclass

from peerdiscover.errors import Outcome
from peerdiscover.peers import Peer


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a discovery at one moment. Times are seconds."""

    generation: int
    """Of the set; it rises by one with each change."""
    age: float
    """Since an answer last confirmed the set; infinite before the first."""
    stale: bool
    """The last answer failed, a lookup is overdue, or a peer is held (see `suspects`)."""
    outcome: Outcome | None
    """Of the last answer; None before the first."""
    error: str | None
    """Why the last answer failed, or that a lookup is overdue; None if neither is so."""
    watch_error: str | None
    """Why the watch failed, for sources that can be asked meanwhile (`auto:`, `Fallback`). None while the
    watch works, and for any other source."""
    next_refresh: float
    """Until the next lookup; 0 while one is in flight, infinite if none will be made."""
    suspects: tuple[Peer, ...]
    """Peers that are held although the last answers lacked them."""
    lookups: int
    """Lookups that were answered or failed."""
    failures: int
    """Of those, the failed ones."""
    changes: int
    """How often the set changed."""
