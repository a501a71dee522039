"""Pickers: pure choices over a set, made ready when the set changes.

Rules of this room:

* A picker is rebound when the set changes, before the new set is shown; it is not asked to look. A
  pick takes no lock, never waits, and costs what `next(itertools.cycle)` costs.
* Who may be picked is decided in one place for all (`_candidates`): suspects, oneself, zones.
* Nobody to pick raises `NoPeersError`, from `next()` too: an iterator over a picker never ends.

    _candidates     who may be picked
    _bound          what all pickers share
    _turns          everybody in turn, anybody at random
    _leases         the one with fewer requests under way
    _hashes         the owner of a key; a few in turn, which are others for each client
"""

from __future__ import annotations

from ._candidates import Zone, pickable, zone_warning
from ._hashes import Rendezvous, Subset
from ._leases import Lease, LeastRequests
from ._turns import Picker, Random, RoundRobin

__all__ = [
    "Lease",
    "LeastRequests",
    "Picker",
    "Random",
    "Rendezvous",
    "RoundRobin",
    "Subset",
    "Zone",
    "pickable",
    "zone_warning",
]
