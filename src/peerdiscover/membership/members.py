"""From what a source saw to members of a set: which endpoints are one peer, and under which key.

A key is the hostname; `hostname@address` where several pods share it; else `address:port`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from operator import attrgetter

from peerdiscover.answers import Endpoint
from peerdiscover.names import host_port
from peerdiscover.peers import Peer

__all__ = ["peers_of", "same_metadata"]


_METADATA = attrgetter("hostname", "fqdn", "ordinal", "zone", "node", "is_self", "priority")


def same_metadata(a: Peer, b: Peer) -> bool:
    """Whether equal peers are alike in everything that equality ignores."""
    return bool(_METADATA(a) == _METADATA(b))


def peers_of(endpoints: Iterable[Endpoint]) -> dict[str, Peer]:
    """Peers under their keys, in the order they came."""
    priorities: dict[Endpoint, int] = {}
    for e in endpoints:
        priorities[e] = min(e.priority, priorities.get(e, e.priority))
    shared = {name for name, n in Counter(e.hostname for e in priorities if e.hostname).items() if n > 1}
    peers: dict[str, Peer] = {}
    for e, priority in priorities.items():
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
