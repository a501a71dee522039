"""Pickers: pure choices over a set, made ready when the set changes.

Rules of this room:

* A picker is rebound when the set changes, before the new set is shown; it is not asked to look. A
  pick takes no lock, never waits, and costs what `next(itertools.cycle)` costs.
* Who may be picked is decided in one place for all (`_candidates`): suspects, oneself, zones.
* Nobody to pick raises `NoPeersError`, from `next()` too: an iterator over a picker never ends.
* What few programs use is loaded when it is first used: the hashes take a tenth of all that importing costs.

    _candidates     who may be picked
    _bound          what all pickers share
    _turns          everybody in turn, anybody at random
    _leases         the one with fewer requests under way
    _hashes         the owner of a key; a few in turn, which are others for each client
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from ._candidates import Zone, pickable, zone_warning
from ._turns import Picker, Random, RoundRobin

if TYPE_CHECKING:
    from ._hashes import Rendezvous, Subset
    from ._leases import Lease, LeastRequests

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

_ROOMS = {"Lease": "_leases", "LeastRequests": "_leases", "Rendezvous": "_hashes", "Subset": "_hashes"}


def __getattr__(name: str) -> object:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_ROOMS[name]}", __name__), name)
    return value
