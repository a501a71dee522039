"""Which peer this pod is: its hostname, its addresses, its zone.

If a hostname and an address disagree, the name wins: the address in DNS may be the one from before a restart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from ._text import quoted
from .errors import ConfigurationError

if TYPE_CHECKING:
    from .peers import Peer

__all__ = ["Identity", "checked_zone"]

_ZONE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", re.ASCII)
"""The value of a node's label topology.kubernetes.io/zone."""


def checked_zone(text: str, where: str) -> str:
    """The topology zone; `ConfigurationError` if it cannot be one. `where` says where it was written."""
    if not isinstance(text, str) or not _ZONE.fullmatch(text):
        raise ConfigurationError(
            f"{where}{quoted(text)}: a zone is what a node's label says, such as eu-west-1a: at most 63 "
            "letters, digits, hyphens, dots, underscores"
        )
    return text


@dataclass(frozen=True, slots=True)
class Identity:
    """This pod: its hostname, its addresses, or both. `ConfigurationError` for what is no address.

    It is not checked against the pod: `name` is compared with the peers' hostnames whatever their
    namespace, and `addresses` may be loopback ones. `zone` is this pod's topology zone; without it
    `PEERDISCOVER_ZONE` counts, else the zone of the peer that is this pod.
    """

    name: str | None = None
    addresses: tuple[str, ...] = ()
    zone: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str | None):
            raise ConfigurationError(f"Identity(name={quoted(self.name)}): expected a hostname, or None")
        addresses = (self.addresses,) if isinstance(self.addresses, str) else self.addresses
        try:
            # As strings: a number is an address for `ip_address`, and a mistake here.
            canonical = tuple(str(ip_address(str(address))) for address in addresses)
        except (TypeError, ValueError):
            given = quoted(self.addresses)
            raise ConfigurationError(f"Identity(addresses={given}): expected IP addresses") from None
        object.__setattr__(self, "addresses", canonical)
        # The downward API gives an empty string if the node has no zone.
        zone = None if self.zone in (None, "") else checked_zone(self.zone, "Identity(zone=…): ")
        object.__setattr__(self, "zone", zone)

    def find(self, peers: Iterable[Peer]) -> str | None:
        """The key of the peer that is this pod, or None. A name goes before an address."""
        candidates = list(peers)
        if self.name:
            named = [peer for peer in candidates if peer.hostname == self.name]
            if len(named) == 1:
                return named[0].key
            if named:  # several pods share the hostname: the address says which
                candidates = named
        mine = set(self.addresses)
        candidates = [peer for peer in candidates if mine.intersection(peer.addresses)]
        return candidates[0].key if len(candidates) == 1 else None
