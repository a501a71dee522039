"""Which addresses are accepted from an answer. Pure, and the same for every source.

Invariants:

* A pod's address is a unicast address outside link-local. An IPv4-mapped IPv6 address, the
  unspecified one, multicast and reserved blocks are rejected. A loopback address is accepted only from
  a nameserver that is on loopback itself, so that no answer points a pod at itself.
* If the user names networks, the address lies in one of them.
* A reason is a few words. The rest of the answer stands.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

__all__ = ["Network", "rejection_reason"]

Network = IPv4Network | IPv6Network

_THIS_NETWORK = IPv4Network("0.0.0.0/8")
_NAT64 = IPv6Network("64:ff9b::/96")


@lru_cache(maxsize=16384)
def rejection_reason(text: str, from_loopback: bool, networks: tuple[Network, ...] | None) -> str:
    """Why the address is rejected; "" if it is accepted. Cached: the same ones come with every answer."""
    address = ip_address(text)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return "an IPv4 address written as IPv6"
    if address.is_loopback:
        if not from_loopback:
            return "a loopback address"
    elif address.is_unspecified or address in _THIS_NETWORK:
        return "the unspecified address"
    elif address.is_multicast:
        return "a multicast address"
    elif address.is_link_local:
        return "a link-local address"
    elif address.is_reserved and address not in _NAT64:
        return "a reserved address"
    if networks is not None and not any(address in network for network in networks):
        return "outside the networks given"
    return ""
