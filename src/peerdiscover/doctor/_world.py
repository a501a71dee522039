"""What checks look at: the objects, what was heard from DNS and the pods, and which Service it is about.

Invariants:

* Values only. What is here was read or asked before; a check decides, and touches nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from peerdiscover.answers import Answer
from peerdiscover.names import ServiceName
from peerdiscover.peers import Peer
from peerdiscover.sources.dns._types import Reply

from ._codes import Finding, NotChecked
from ._object import Object, at
from ._objects import Objects

Result = Finding | NotChecked


@dataclass(slots=True)
class Server:
    """What one nameserver answered. A reply of None: there was none."""

    address: str
    udp: list[Reply | None] = field(default_factory=list)
    tcp: list[Reply | None] = field(default_factory=list)
    again: list[Reply | None] = field(default_factory=list)
    """A TTL later, if the first ones did not agree."""
    size: int = 0
    """Bytes of the largest answer."""
    port: Reply | None = None
    """To the SRV question with the port's name, if there is one."""
    seconds: float = 0.0
    """That the first answer over UDP took."""
    tcp_seconds: float = 0.0
    """… and the one over TCP."""

    @property
    def is_silent(self) -> bool:
        return not any((*self.udp, *self.tcp))


@dataclass(slots=True)
class Own:
    """The pod that runs doctor."""

    name: str | None
    addresses: frozenset[str]
    namespace: str | None
    search: tuple[str, ...]
    """The search list of resolv.conf."""
    loopback_ports: frozenset[int]
    """The ports on which only loopback listens."""


@dataclass(slots=True)
class Heard:
    """What was heard when the name was asked. By default nothing was asked."""

    absolute: str = ""
    """The name that was asked."""
    zone: str = ""
    answer: Answer = field(default_factory=lambda: Answer.failed("nothing was asked"))
    """The library's own lookup."""
    peers: tuple[Peer, ...] = ()
    servers: list[Server] = field(default_factory=list)
    zones: dict[str, bool] = field(default_factory=dict)
    """Whether TXT `dns-version.ZONE` exists. Zones that no server answered for are not here."""
    connects: dict[str, str] = field(default_factory=dict)
    """`address:port` to "accepts", "refuses", "is silent"; or why that is not known."""
    own: Own | None = None
    """None: this is no pod."""
    is_given: bool = False
    """The nameservers were given by hand."""
    refused: str = ""
    """What the API server said to the request for EndpointSlices, and the Role to apply; "": it answered."""
    slices_changed: bool = False
    """The EndpointSlices changed between the two rounds of answers."""

    @property
    def srv_ports(self) -> list[int]:
        """The ports in the SRV records."""
        replies = [reply for server in self.servers for reply in server.udp if reply]
        return sorted({srv.port for reply in replies for srv in reply.services})

    @property
    def lacks_port(self) -> bool:
        """A server says that no port has the name that was asked for."""
        return any(server.port is not None and server.port.is_negative for server in self.servers)


@dataclass
class World:
    """All of it. `name` and its `namespace` if one Service was asked for."""

    objects: Objects
    name: ServiceName | None = None
    namespace: str = ""
    heard: Heard = field(default_factory=Heard)

    @cached_property
    def service(self) -> Object | None:
        """The Service that was asked for, if it is known."""
        return self.objects.get("Service", self.namespace, self.name.service) if self.name else None

    @property
    def about(self) -> Object | str:
        """The Service that was asked for, or its name."""
        return self.service or str(self.name)

    @cached_property
    def services(self) -> list[Object]:
        """The headless Services that it is about."""
        if self.name is None:
            return self.objects.headless()
        return [self.service] if self.service is not None and self.service.is_headless else []

    @cached_property
    def workloads(self) -> list[Object]:
        """The workloads that it is about: all, or those of the Service and the pod that asks."""
        everything = self.objects.workloads()
        return everything if self.name is None else [w for w in everything if self._concerns(w)]

    def _concerns(self, w: Object) -> bool:
        own, service = self.heard.own, self.service
        if own is not None and own.namespace == w.namespace and f"{own.name}-".startswith(f"{w.name}-"):
            return True
        if service is None or w.namespace != self.namespace:
            return False
        return w.matches(service.selector) or w in self.objects.governed(self.namespace, service.name)

    def alone(self, w: Object) -> list[Object]:
        """The headless Services that select a workload's pods and no others."""
        return [one for one in self.objects.behind(w) if len(self.objects.selected(one)) == 1]

    @property
    def endpoints(self) -> list[dict[str, Any]]:
        """Those in the EndpointSlices of the Service that was asked for."""
        slices = self.objects.slices(self.namespace, self.name.service) if self.name else []
        return [endpoint for one in slices for endpoint in one.items("endpoints")]

    def addresses(self, is_meant: Callable[[dict[str, Any]], bool]) -> frozenset[str] | None:
        """The addresses of these endpoints; None if the EndpointSlices are not known."""
        if self.name is None or "EndpointSlice" in self.objects.unread:
            return None
        found = [endpoint.get("addresses") for endpoint in self.endpoints if is_meant(endpoint)]
        return frozenset(str(one) for listed in found if isinstance(listed, list) for one in listed)

    @property
    def ready(self) -> frozenset[str] | None:
        return self.addresses(is_ready)

    def name_with(self, port: object) -> str:
        """The name that was asked, with another port."""
        assert self.name is not None
        scheme = "" if self.name.scheme == "dns" else f"{self.name.scheme}:"
        return f"{scheme}{self.name.service}.{self.namespace}:{port}"


def is_ready(endpoint: dict[str, Any]) -> bool:
    return at(endpoint, "conditions.ready") is not False


def is_not_serving(endpoint: dict[str, Any]) -> bool:
    return at(endpoint, "conditions.serving") is False


CheckFunction = Callable[[World], Iterator[Result]]
