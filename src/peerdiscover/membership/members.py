"""An answer, read as peers: which endpoints are one pod, under which key, and what it leaves unsaid.

Invariants:

* A key is the hostname; `hostname@address` if several pods share it; else `address:port`. It follows from
  the endpoints and not from their order. An SRV target outside of a cluster is a host, not an instance:
  several may run there, so the key is `hostname:port`, and stays when a sibling leaves.
* An answer speaks only of what it can know. A family that could not be asked keeps its addresses; an answer
  without zones takes no zone away; pods that an authoritative source reported with both families stay one
  peer each, since DNS cannot pair addresses of pods without hostnames.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable
from dataclasses import replace
from operator import attrgetter

from peerdiscover._host_ports import host_port
from peerdiscover.answers import Answer, Endpoint, family_of
from peerdiscover.errors import Outcome
from peerdiscover.peers import Peer, PeerSet

_METADATA = attrgetter("hostname", "fqdn", "ordinal", "zone", "node", "is_self", "priority")


def same_metadata(a: Peer, b: Peer) -> bool:
    """Whether equal peers are alike in everything that equality ignores."""
    return bool(_METADATA(a) == _METADATA(b))


def peers_of(endpoints: Iterable[Endpoint]) -> dict[str, Peer]:
    """Peers under their keys, in the order of the endpoints."""
    priorities: dict[Endpoint, int] = {}
    for e in endpoints:
        priorities[e] = min(e.priority, priorities.get(e, e.priority))
    shared = {name for name, n in Counter(e.hostname for e in priorities if e.hostname).items() if n > 1}
    ports = Counter((e.hostname, e.port) for e in priorities)
    places = Counter((e.hostname, e.addresses[0]) for e in priorities)
    peers: dict[str, Peer] = {}
    for e, priority in priorities.items():
        address = e.addresses[0]
        if e.hostname is None:
            key = host_port(address, e.port)
        elif e.is_instance:
            key = f"{e.hostname}:{e.port}"
            if ports[e.hostname, e.port] > 1:
                key = f"{e.hostname}@{host_port(address, e.port)}"
        elif places[e.hostname, address] > 1:
            key = f"{e.hostname}@{host_port(address, e.port)}"  # hostNetwork pods of one node
        elif e.hostname in shared:
            key = f"{e.hostname}@{address}"
        else:
            key = e.hostname
        if key not in peers:
            peers[key] = Peer(
                key,
                address,
                e.port,
                e.addresses,
                e.hostname,
                e.fqdn,
                zone=e.zone,
                node=e.node,
                priority=priority,
            )
    return peers


def is_inconclusive(answer: Answer, known: PeerSet) -> bool:
    """Whether one family has no peers, while every known peer may be of the other, which failed.

    "Not found" is about the name, whatever the family (RFC 8020): it counts if no peers are known.
    """
    failed = answer.failed_families
    if not failed or not answer.is_empty or answer.authoritative:
        return False
    if not known:
        return answer.outcome is Outcome.EMPTY
    return all(any(family_of(a) in failed for a in peer.addresses) for peer in known)


def inconclusive_reason(answer: Answer) -> str:
    """Why such an answer counts as failed."""
    families = " and ".join(f"IPv{family}" for family in sorted(answer.failed_families))
    return f"{families} could not be asked, and no peers are known to be elsewhere"


class MemberReader:
    """Reads answers, and remembers what later ones cannot know. `hold`: seconds that a name is awaited."""

    def __init__(self, hold: float) -> None:
        self._hold = hold
        self._from_authority = False
        self._paired: dict[str, tuple[str, ...]] = {}
        self._unnamed_since: dict[str, float] = {}

    def read(
        self, answer: Answer, known: PeerSet, suspects: Container[str], now: float
    ) -> tuple[dict[str, Peer], set[str]]:
        """The peers in the answer, and the keys of known ones about which it says nothing."""
        seen = peers_of([*answer.endpoints, *self._admissible_unnamed(answer, known, now)])
        has_zones = any(peer.zone for peer in seen.values())
        self._merge_dual_stack(seen, answer)
        exempt = _carry_failed_families(seen, answer, known, suspects)
        if not has_zones:
            _carry_topology(seen, known)
        _carry_unresolved(seen, answer, known)
        return seen, exempt

    def is_vip_only(self, answer: Answer) -> bool:
        """Whether it is a Service's virtual address, while an authoritative source reported its pods."""
        return (
            self._from_authority
            and not answer.authoritative
            and bool(answer.endpoints)
            and answer.kind == "cluster-ip"
        )

    def _admissible_unnamed(self, answer: Answer, known: PeerSet, now: float) -> Iterable[Endpoint]:
        """Of the endpoints whose hostname could not be asked: those that may join without one.

        In a set of hostnames an address alone would make a second peer of a pod that is known, or
        will be: it is left out until its name can be asked again, or until `hold` has passed.
        """
        named = bool(answer.endpoints) and any(peer.hostname is not None for peer in known)
        waiting = {endpoint.addresses[0] for endpoint in answer.unnamed}
        self._unnamed_since = {address: self._unnamed_since.get(address, now) for address in waiting if named}
        return [
            endpoint
            for endpoint in answer.unnamed
            if not named or now - self._unnamed_since[endpoint.addresses[0]] >= self._hold
        ]

    def _merge_dual_stack(self, seen: dict[str, Peer], answer: Answer) -> None:
        """Remember which addresses are one pod's, or give a peer seen by one of them all of them."""
        self._from_authority = answer.authoritative or (self._from_authority and not seen)
        if answer.authoritative:
            self._paired = {
                key: peer.addresses
                for key, peer in seen.items()
                if peer.hostname is None and len(peer.addresses) > 1
            }
        for key in self._paired.keys() & seen.keys():
            if set(seen[key].addresses) < set(self._paired[key]):
                seen[key] = replace(seen[key], addresses=self._paired[key])


def _carry_failed_families(
    seen: dict[str, Peer], answer: Answer, known: PeerSet, suspects: Container[str]
) -> set[str]:
    """Keep what only a family that could not be asked can speak of.

    Addresses of that family are added to `seen`. Returns the keys about which the answer says
    nothing: they stay as they are, suspects too.
    """
    exempt = set[str]()
    for peer in known if answer.failed_families else ():
        kept = tuple(a for a in peer.addresses if family_of(a) in answer.failed_families)
        if not kept:
            continue
        shown = seen.get(peer.key)
        if shown is not None:
            both = dict.fromkeys(kept + shown.addresses)
            preferred = family_of(peer.address)
            addresses = tuple(sorted(both, key=lambda a: family_of(a) != preferred))
            seen[peer.key] = replace(shown, address=addresses[0], addresses=addresses)
        elif peer.key in suspects or answer.is_empty:
            exempt.add(peer.key)
        else:
            seen[peer.key] = replace(peer, address=kept[0], addresses=kept)
    return exempt


def _carry_unresolved(seen: dict[str, Peer], answer: Answer, known: PeerSet) -> None:
    """Keep the known peers that the source lists without an address: they are there, as they were."""
    for peer in known if answer.unresolved else ():
        names = {peer.hostname} if peer.hostname else set(peer.addresses)
        if not names.isdisjoint(answer.unresolved):
            seen.setdefault(peer.key, peer)


def _carry_topology(seen: dict[str, Peer], known: PeerSet) -> None:
    """Keep zones and nodes: the source of this answer does not know them, or could not find out now.

    A pod does not move: a peer that is seen again at the same addresses is where it was.
    """
    for old in known:
        if (old.zone or old.node) and (new := seen.get(old.key)) is not None and new == old:
            seen[old.key] = replace(new, zone=old.zone, node=new.node or old.node)
