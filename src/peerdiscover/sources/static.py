"""Static: a fixed list of pods, for laptops and tests.

Invariants:

* The list is checked when it is given, so that an error shows there and then.
* It never changes. It is never asked again (its TTL is infinite), and its answers are final.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from peerdiscover._host_ports import StaticEntry
from peerdiscover._text import quoted
from peerdiscover.answers import Answer, Endpoint, LookupRequest
from peerdiscover.errors import ConfigurationError
from peerdiscover.peers import Peer

__all__ = ["Static", "endpoint"]


class Static:
    """A fixed list: strings (`"10.0.0.1:8080"`, `"db-0=10.0.0.2:8080"`), `Peer`s or `Endpoint`s.

    Raises `ConfigurationError`, which shows the entry, for anything else.
    """

    kind = "static"

    def __init__(self, entries: Iterable[str | Peer | Endpoint | StaticEntry]) -> None:
        if isinstance(entries, str):
            raise ConfigurationError(f"Static({quoted(entries)}): expected a list, [{quoted(entries)}]")
        self._endpoints = tuple(dict.fromkeys(map(endpoint, entries)))

    def __repr__(self) -> str:
        return f"Static({len(self._endpoints)} pods)"

    def lookup(self, request: LookupRequest) -> Answer:  # noqa: ARG002 - the protocol's; the list is always the same
        """The list. Never blocks, never fails."""
        return Answer.of(self._endpoints, ttl=math.inf, kind=self.kind)


def endpoint(entry: object) -> Endpoint:
    """One pod, from a string, a `Peer`, an `Endpoint` or a parsed entry; else `ConfigurationError`."""
    if isinstance(entry, Endpoint):
        return entry
    if isinstance(entry, str):
        return Endpoint.parse(entry)
    if isinstance(entry, Peer):
        return Endpoint(entry.addresses, entry.port, entry.hostname, entry.fqdn, entry.zone, entry.node)
    if isinstance(entry, StaticEntry):
        return Endpoint((entry.address,), entry.port, entry.hostname)
    raise ConfigurationError(f"{quoted(entry)}: a pod is written ADDRESS:PORT, or is a Peer or an Endpoint")
