"""Who may be picked, and why nobody may.

Rules of this room, in the order in which they apply:

* Oneself is left out unless `include_self`.
* Suspects are left out as long as the other peers are at least half as many as the set had before;
  below that they count as anybody, since a lie must not put the load of ten on one.
* Those who failed when they were called (ejected, on trial) are left out as long as half of these are
  left; below that all are tried. Who is on trial is given one call.
* zone="prefer": the own zone's peers, while they are enough, else everybody. They are enough when they
  are at least half as many as a zone has on average; peers whose zone is not known count as one zone.
  So, where callers are spread evenly over the zones, their own zone gives nobody more than twice its share.
* zone="only": the own zone's peers, be they suspects where there are no others; never anybody else.
* Where the own zone is not known, or no peer's is, "prefer" means everybody, and "only" nobody.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Literal, get_args

from peerdiscover.errors import ConfigurationError
from peerdiscover.peers import Peer, View

__all__ = [
    "Zone",
    "checked_zone_choice",
    "half_open",
    "pickable",
    "stable_candidates",
    "why_nobody",
    "zone_warning",
]

Zone = Literal["prefer", "only"]


def checked_zone_choice(zone: object) -> None:
    """`ConfigurationError` with the choices, where it is none of them."""
    choices = (*get_args(Zone), None)
    if zone not in choices:
        raise ConfigurationError(f"zone={zone!r}: use one of {', '.join(map(repr, choices))}")


def pickable(view: View, include_self: bool = False, zone: Zone | None = None) -> tuple[Peer, ...]:
    """Those who may be picked, in the order of the set."""
    peers = tuple(view.peers if include_self else view.peers.others)
    chosen = _near(_without_failing(view, _without_suspects(view, peers)), view.zone, zone)
    return chosen or (_in_zone(peers, view.zone) if zone == "only" else ())


def stable_candidates(view: View, include_self: bool = False, zone: Zone | None = None) -> tuple[Peer, ...]:
    """The same, whatever is held against anybody: for choices that all pods are to agree on."""
    return _near(tuple(view.peers if include_self else view.peers.others), view.zone, zone)


def _near(peers: tuple[Peer, ...], own: str | None, zone: Zone | None) -> tuple[Peer, ...]:
    if zone is None:
        return peers
    near = _in_zone(peers, own)
    return near if zone == "only" or _are_enough(near, peers) else peers


def _without_suspects(view: View, peers: tuple[Peer, ...]) -> tuple[Peer, ...]:
    confirmed = len(view.peers) - len(view.suspects)
    if not view.suspects or 2 * confirmed < view.before:
        return peers
    return tuple(peer for peer in peers if peer.key not in view.suspects)


def _without_failing(view: View, peers: tuple[Peer, ...]) -> tuple[Peer, ...]:
    if not (view.ejected or view.half_open):
        return peers
    well = tuple(peer for peer in peers if peer.key not in view.ejected and peer.key not in view.half_open)
    return well if 2 * len(well) >= len(peers) else peers


def half_open(
    view: View, chosen: tuple[Peer, ...], include_self: bool = False, zone: Zone | None = None
) -> tuple[Peer, ...]:
    """Those who are to be given one call, beside those who were chosen."""
    return tuple(
        peer
        for peer in map(view.peers.get, sorted(view.half_open))
        if peer is not None
        and peer not in chosen
        and (include_self or not peer.is_self)
        and (zone is None or peer.zone == view.zone)
    )


def _in_zone(peers: Iterable[Peer], zone: str | None) -> tuple[Peer, ...]:
    return tuple(peer for peer in peers if zone is not None and peer.zone == zone)


def _are_enough(near: tuple[Peer, ...], everybody: tuple[Peer, ...]) -> bool:
    zones = len({peer.zone for peer in everybody})
    return 2 * len(near) * zones >= len(everybody)


def why_nobody(view: View, include_self: bool = False, zone: Zone | None = None) -> str:
    """Why `pickable` gives nobody."""
    if view.peers.generation == 0:
        return "nobody is known yet"
    peers = pickable(view, include_self)
    if zone is not None and peers:
        return f'zone="{zone}": {_zone_is_unknown(view, peers) or _nobody_in(view.zone, peers)}'
    if view.peers.me is not None and len(view.peers) == 1:
        return "only this pod itself is there; include_self=True would pick it"
    return "there is nobody to pick"


def zone_warning(view: View) -> str | None:
    """What the user of zone="prefer" should know: why it makes no difference."""
    unknown = _zone_is_unknown(view, view.peers)
    return f'zone="prefer" picks from all zones: {unknown}' if unknown and view.peers else None


def _zone_is_unknown(view: View, peers: Iterable[Peer]) -> str | None:
    if view.zone is None:
        return "the own zone is not known; set PEERDISCOVER_ZONE, or give Identity(zone=…)"
    if all(peer.zone is None for peer in peers):
        return (
            f"no peer is known to be in a zone: none is in {view.zone}, or the source does not tell "
            "(over DNS it takes CoreDNS's option zonal)"
        )
    return None


def _nobody_in(zone: str | None, peers: Iterable[Peer]) -> str:
    counts = Counter(peer.zone or "a zone that is not known" for peer in peers)
    return f"nobody is in {zone}; there are " + ", ".join(
        f"{count} in {name}" for name, count in sorted(counts.items())
    )
