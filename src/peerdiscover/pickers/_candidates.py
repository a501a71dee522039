"""Which peers may be picked, and why there are none.

Invariants, in the order in which they apply:

* This pod is left out unless `include_self`.
* Of peers with an SRV priority (RFC 2782) those of the lowest number are picked of which one neither is a
  suspect nor fails; if there is none, those of the lowest number. The others are backups.
* Suspects are left out as long as the other peers are at least half as many as the set had before;
  below that they count like the others, since a wrong answer must not put the load of ten on one.
* Peers that failed when they were called (ejected, half-open) are left out as long as half of these remain;
  below that all are tried. A half-open peer is given one call.
* zone="prefer": the peers of this pod's zone while they are enough, else all. They are enough when they
  are at least half as many as a zone has on average; peers whose zone is not known count as one zone.
  So, if callers are spread evenly over the zones, no peer gets more than twice its share.
* zone="only": the peers of this pod's zone, even suspects if there are no others; never a peer elsewhere.
* If this pod's zone is not known, or no peer's is, "prefer" means all peers, and "only" none.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Literal, get_args

from peerdiscover._text import printable, quoted
from peerdiscover.errors import ConfigurationError
from peerdiscover.peers import Peer, View

Zone = Literal["prefer", "only"]


def checked_zone_choice(zone: object) -> None:
    """`ConfigurationError` that lists the choices, unless it is one of them."""
    choices = (*get_args(Zone), None)
    if zone not in choices:
        raise ConfigurationError(f"zone={quoted(zone)}: use one of {', '.join(map(repr, choices))}")


def pickable(view: View, include_self: bool = False, zone: Zone | None = None) -> tuple[Peer, ...]:
    """The peers that may be picked, in the order of the set."""
    peers = _first_choice(tuple(view.peers if include_self else view.peers.others), view, zone)
    chosen = _near(_without_failing(view, _without_suspects(view, peers)), view.zone, zone)
    return chosen or (_in_zone(peers, view.zone) if zone == "only" else ())


def stable_candidates(view: View, include_self: bool = False, zone: Zone | None = None) -> tuple[Peer, ...]:
    """The same, ignoring suspicion and failures: for choices that all pods have to agree on."""
    peers = tuple(view.peers if include_self else view.peers.others)
    return _near(_first_choice(peers, View(view.peers, zone=view.zone), zone), view.zone, zone)


def _first_choice(peers: tuple[Peer, ...], view: View, zone: Zone | None) -> tuple[Peer, ...]:
    if not any(peer.priority for peer in peers):
        return peers
    possible = _in_zone(peers, view.zone) if zone == "only" else peers
    bad = view.suspects | view.ejected | view.half_open
    lowest = min((p.priority for p in possible if p.key not in bad), default=None)
    if lowest is None:
        lowest = min((p.priority for p in possible), default=0)
    return tuple(peer for peer in peers if peer.priority == lowest)


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
    """The peers to be given one call, beside those that were chosen, but no backups of these."""
    backup = max((peer.priority for peer in chosen), default=math.inf)
    keys = {peer.key for peer in chosen} if view.half_open else set[str]()
    return tuple(
        peer
        for peer in map(view.peers.get, sorted(view.half_open))
        if peer is not None
        and peer.key not in keys
        and peer.priority <= backup
        and (include_self or not peer.is_self)
        and (zone is None or peer.zone == view.zone)
    )


def _in_zone(peers: Iterable[Peer], zone: str | None) -> tuple[Peer, ...]:
    return tuple(peer for peer in peers if zone is not None and peer.zone == zone)


def _are_enough(near: tuple[Peer, ...], peers: tuple[Peer, ...]) -> bool:
    zones = len({peer.zone for peer in peers})
    return 2 * len(near) * zones >= len(peers)


def why_none(view: View, include_self: bool = False, zone: Zone | None = None) -> str:
    """Why `pickable` returns no peers."""
    if view.peers.generation == 0:
        return "no peers are known yet"
    peers = pickable(view, include_self)
    if zone is not None and peers:
        return f'zone="{zone}": {_zone_is_unknown(view, peers) or _none_in(view.zone, peers)}'
    if view.peers.me is not None and len(view.peers) == 1:
        return "this pod is the only peer; include_self=True would pick it"
    return "no peers available"


def zone_warning(view: View) -> str | None:
    """Why zone="prefer" makes no difference, if it makes none."""
    unknown = _zone_is_unknown(view, view.peers)
    return f'zone="prefer" picks from all zones: {unknown}' if unknown and view.peers else None


def _zone_is_unknown(view: View, peers: Iterable[Peer]) -> str | None:
    if view.zone is None:
        return "this pod's zone is not known; set PEERDISCOVER_ZONE, or give Identity(zone=…)"
    if all(peer.zone is None for peer in peers):
        return (
            f"no peer's zone is known: none is in {printable(view.zone)}, or the source reports no zones "
            "(over DNS it takes CoreDNS's option zonal)"
        )
    return None


def _none_in(zone: str | None, peers: Iterable[Peer]) -> str:
    counts = Counter(printable(peer.zone or "an unknown zone") for peer in peers)
    return f"no peer is in {printable(zone or '')}; there are " + ", ".join(
        f"{count} in {name}" for name, count in sorted(counts.items())
    )
