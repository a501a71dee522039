"""Services and their endpoints, as plain values. What DNS says about them is decided in `_zone`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import chain

from peerdiscover._labels import dashed

from ._messages import TYPES


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port, and its name ("" if it has none)."""

    number: int
    name: str = ""
    protocol: str = "tcp"


@dataclass(frozen=True, slots=True)
class ServiceEndpoint:
    """One ready address of one pod. A pod with two addresses is two of these, as in EndpointSlices."""

    address: str
    ports: tuple[ServicePort, ...] = ()
    hostname: str | None = None
    pod: str = ""
    """The pod's name, for servers that make a label of it (`endpoint_pod_names`)."""
    type: int = field(init=False, repr=False, compare=False)
    packed: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        parsed = ip_address(self.address)
        object.__setattr__(self, "type", TYPES["A" if parsed.version == 4 else "AAAA"])
        object.__setattr__(self, "packed", parsed.packed)

    def label(self, *, pod_names: bool = False) -> str:
        """Return the label that the server gives it (`endpointHostname` in CoreDNS)."""
        if self.hostname:
            return self.hostname
        if pod_names and self.pod and len(self.pod) < 64:
            return self.pod
        return dashed(self.address)


@dataclass(frozen=True, slots=True)
class Service:
    """A Service and its ready endpoints, in slices as the API server has them.

    It is headless if it has neither `cluster_ips` nor `external_name`. `ports` belong to a ClusterIP
    Service; a headless one has the ports of its endpoints.
    """

    name: str
    namespace: str
    slices: tuple[tuple[ServiceEndpoint, ...], ...] = ()
    cluster_ips: tuple[str, ...] = ()
    ports: tuple[ServicePort, ...] = ()
    external_name: str | None = None

    def endpoints(self, turn: int = 0) -> Iterator[ServiceEndpoint]:
        """Return all endpoints, beginning with slice number `turn`."""
        first = turn % len(self.slices) if self.slices else 0
        return chain.from_iterable(self.slices[first:] + self.slices[:first])
