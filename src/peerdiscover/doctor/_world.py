"""What checks look at: the objects, what was heard from DNS and the pods, and which Service it is about.

Invariants:

* Values only. What is here was read or asked before; a check decides, and touches nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from peerdiscover.answers import Answer
from peerdiscover.names import ServiceName
from peerdiscover.peers import Peer
from peerdiscover.sources.dns._types import Reply

from ._codes import Finding, NotChecked
from ._objects import Object, Objects, Workload, at, items

__all__ = ["CheckFunction", "Heard", "Own", "Result", "Server", "World", "finding_of", "ready_addresses"]

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
    """What was heard when the name was asked."""

    absolute: str
    """The name that was asked."""
    zone: str
    answer: Answer
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


@dataclass
class World:
    """All of it. `name` and its `namespace` if one Service was asked for."""

    objects: Objects
    name: ServiceName | None = None
    namespace: str = ""
    heard: Heard | None = None

    @cached_property
    def service(self) -> Object | None:
        """The Service that was asked for, if it is known."""
        if self.name is None:
            return None
        return self.objects.get("Service", self.namespace, self.name.service)

    @cached_property
    def services(self) -> list[Object]:
        """The headless Services that it is about."""
        if self.name is None:
            return self.objects.headless()
        return [self.service] if self.service is not None and self.service.is_headless else []

    @cached_property
    def workloads(self) -> list[Workload]:
        """The workloads that it is about: all, or those of the Service and the pod that asks."""
        everything = self.objects.workloads()
        if self.name is None:
            return everything
        own = self.heard.own if self.heard else None
        return [w for w in everything if self._concerns(w) or (own is not None and _runs(w, own))]

    def name_with(self, port: object) -> str:
        """The name that was asked, with another port."""
        assert self.name is not None
        scheme = "" if self.name.scheme == "dns" else f"{self.name.scheme}:"
        return f"{scheme}{self.name.service}.{self.namespace}:{port}"

    def _concerns(self, workload: Workload) -> bool:
        service, found = self.service, workload.object
        if self.name is None or service is None or found.namespace != self.namespace:
            return False
        return workload.matches(service.selector) or (
            found.kind == "StatefulSet" and serves(found, self.name.service)
        )


def serves(statefulset: Object, service: str) -> bool:
    """Whether a StatefulSet names this Service."""
    spec = statefulset.data.get("spec")
    return isinstance(spec, Mapping) and spec.get("serviceName") == service


def _runs(workload: Workload, own: Own) -> bool:
    if own.name is None or workload.object.namespace != own.namespace:
        return False
    return own.name == workload.name or own.name.startswith(f"{workload.name}-")


CheckFunction = Callable[[World], Iterator[Result]]


def finding_of(world: World, code: str, seen: str, change: str, *, warning: bool = False) -> Finding:
    """What was found out about the name: an error, or a warning."""
    level = "warning" if warning else "error"
    about = world.service or str(world.name)
    return Finding(code=code, level=level, about=about, seen=seen, change=change)  # type: ignore[arg-type]


def ready_addresses(world: World) -> frozenset[str] | None:
    """The addresses that the EndpointSlices list as ready; None if they are not known."""
    if world.name is None or "EndpointSlice" in world.objects.unread:
        return None
    slices = world.objects.slices(world.namespace, world.name.service)
    return frozenset(
        str(address)
        for one in slices
        for endpoint in items(one.data, "endpoints")
        if at(endpoint, "conditions.ready") is not False
        for address in endpoint.get("addresses") or ()
    )
