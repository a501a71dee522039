"""From what a source saw to members of a set: which endpoints are one peer, and under which key.

A key is the hostname; `hostname@address` where several pods share it; else `address:port`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from peerdiscover.answers import Endpoint
from peerdiscover.names import host_port
from peerdiscover.peers import Peer

__all__ = ["peers_of", "same_metadata"]


def same_metadata(a: Peer, b: Peer) -> bool:
    """Whether equal peers have the same told about them, beside what makes them equal."""
    return (a.hostname, a.fqdn, a.ordinal, a.zone, a.node, a.is_self) == (
        b.hostname,
        b.fqdn,
        b.ordinal,
        b.zone,
        b.node,
        b.is_self,
    )


def peers_of(endpoints: Iterable[Endpoint]) -> dict[str, Peer]:
    """Peers under their keys, in the order they came."""
    unique = list(dict.fromkeys(endpoints))
    shared = {name for name, n in Counter(e.hostname for e in unique if e.hostname).items() if n > 1}
    peers: dict[str, Peer] = {}
    for e in unique:
        address = e.addresses[0]
        if e.hostname is None:
            key = host_port(address, e.port)
        elif e.hostname in shared:
            key = f"{e.hostname}@{address}"
            if key in peers:  # two ports of one address under one hostname: hostNetwork pods of one node
                key = f"{e.hostname}@{host_port(address, e.port)}"
        else:
            key = e.hostname
        if key not in peers:
            peers[key] = Peer(key, address, e.port, e.addresses, e.hostname, e.fqdn, zone=e.zone, node=e.node)
    return peers
