"""How a discovery is doing, at one moment: numbers for metrics, where `explaining` has words."""

from __future__ import annotations

from dataclasses import dataclass

from peerdiscover.errors import Outcome
from peerdiscover.peers import Peer

__all__ = ["Status"]


@dataclass(frozen=True, slots=True)
class Status:
    """How a discovery is doing, at one moment. Times are seconds."""

    generation: int
    """Of the set; it rises by one with each change."""
    age: float
    """Since an answer last confirmed the set; infinite before the first."""
    stale: bool
    """The last answer failed, a lookup does not come back, or somebody is held (see `suspects`)."""
    outcome: Outcome | None
    """Of the last answer; None before the first."""
    error: str | None
    """Why the last answer failed, or that a lookup does not come back; None where neither is so."""
    watch_error: str | None
    """Of a source that is watched and can be asked, too (`auto:`, `Fallback`): why its watch is down, and it
    is asked instead. None while the watch works, and of any other source."""
    next_refresh: float
    """Until the next question; 0 while one is under way, infinite where none will be."""
    suspects: tuple[Peer, ...]
    """Held though the last answers lacked them."""
    lookups: int
    """Questions to the source that were answered or failed."""
    failures: int
    """Of those, the failed ones."""
    changes: int
    """How often the set changed."""
