"""Which addresses are accepted from an answer. Pure, and the same for every source.

Invariants:

* Rejected is what no pod can have: the unspecified address, multicast, broadcast, link-local, and an
  IPv4 address written as IPv6 (RFC 4291, 2.5.5). Reserved blocks are accepted, since clusters use them
  (GKE: 240.0.0.0/4).
  A loopback address is accepted only from a nameserver that is on loopback itself, so that no answer
  points a pod at itself.
* If the user names networks, the address lies in one of them. A network within one of the blocks above
  admits its addresses; a wider one, such as 0.0.0.0/0, does not.
* A reason is a few words. The rest of the answer stands.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address

Network = IPv4Network | IPv6Network

_LOOPBACK = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
_NEVER_PODS: tuple[tuple[Network, str], ...] = (
    (IPv4Network("0.0.0.0/8"), "the unspecified address"),
    (IPv6Network("::/128"), "the unspecified address"),
    (IPv4Network("224.0.0.0/4"), "a multicast address"),
    (IPv6Network("ff00::/8"), "a multicast address"),
    (IPv4Network("255.255.255.255/32"), "the broadcast address"),
    (IPv4Network("169.254.0.0/16"), "a link-local address"),
    (IPv6Network("fe80::/10"), "a link-local address"),
    (IPv6Network("::ffff:0:0/96"), "an IPv4 address written as IPv6"),
    (IPv6Network("::/96"), "an IPv4 address written as IPv6"),
)


@lru_cache(maxsize=16384)
def rejection_reason(text: str, from_loopback: bool, networks: tuple[Network, ...] | None) -> str:
    """Why the address is rejected; "" if it is accepted. Cached: the same ones come with every answer."""
    address = ip_address(text)
    named = [network for network in networks or () if address in network]
    if networks is not None and not named:
        return "outside the networks given"
    blocks = [(block, "" if from_loopback else "a loopback address") for block in _LOOPBACK]
    for block, reason in (*blocks, *_NEVER_PODS):
        if address in block:
            return "" if any(_within(network, block) for network in named) else reason
    return ""


def _within(network: Network, block: Network) -> bool:
    """Whether the user named that block, or a part of it."""
    first, last = network.network_address, network.broadcast_address
    return first in block and last in block
