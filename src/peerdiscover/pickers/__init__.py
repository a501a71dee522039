"""Pickers: pure choices over a set, made ready when the set changes.

Invariants:

* A picker is rebound when the set changes, before the new set is published. A pick takes no lock, never
  waits, and costs what `next(itertools.cycle)` costs.
* Which peers may be picked is decided in one place for all (`_candidates`): suspects, this pod, zones.
* Without a peer to pick a pick raises `NoPeersError`, `next()` too: an iterator over a picker never ends.
* What few programs use is loaded when it is first used: the hashes take a tenth of all that importing costs.

    _candidates     which peers may be picked
    _base           what all pickers share
    _turns          peers in turn, peers at random
    _least_requests the peer with fewer requests in flight
    _hashing        the owner of a key; a few peers in turn, different ones for each client
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from peerdiscover._exports import lazy

from ._base import BasePicker
from ._candidates import Zone, pickable, zone_warning
from ._turns import Picker, Random, RoundRobin

if TYPE_CHECKING:
    from ._hashing import Rendezvous, Subset
    from ._least_requests import Lease, LeastRequests

__all__ = [
    "BasePicker",
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

__getattr__, __dir__ = lazy(
    __name__, {"_hashing": ("Rendezvous", "Subset"), "_least_requests": ("Lease", "LeastRequests")}
)
