"""Pickers: pure choices over a set, made ready when the set changes.

Rules of this room:

* A picker is rebound when the set changes, before the new set is shown; it is not asked to look. A
  pick takes no lock, never waits, and costs what `next(itertools.cycle)` costs.
* Who may be picked is decided in one place for all (`_candidates`): suspects, oneself, zones.
* Nobody to pick raises `NoPeersError`, from `next()` too: an iterator over a picker never ends.

    _candidates     who may be picked
    _bound          what all pickers share
    _turns          everybody in turn, anybody at random
"""

from __future__ import annotations

from ._candidates import Zone, pickable, zone_warning
from ._turns import Picker, Random, RoundRobin

__all__ = ["Picker", "Random", "RoundRobin", "Zone", "pickable", "zone_warning"]
