"""Reading one EndpointSlice: its ports, and the pods in it that are ready. Pure.

Invariants:

* Ready decides, as in CoreDNS: a condition that is missing counts as ready (the API's own rule), and
  `publishNotReadyAddresses` shows itself in it. `hints` and the manager of a slice play no part here.
* Peers equal those of DNS: a hostname if the endpoint has one, the label that CoreDNS would write.
* A malformed slice, port or endpoint is dropped, with one line that says so; the rest counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from peerdiscover._labels import LABEL, dashed
from peerdiscover._text import printable, quoted
from peerdiscover.answers import Endpoint, canonical, family_of
from peerdiscover.names import ServiceName
from peerdiscover.sources._validation import rejection_reason

_FAMILIES = {"IPv4": 4, "IPv6": 6}
_HEADLESS = "service.kubernetes.io/headless"
_MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
_CONTROLLER = "endpointslice-controller.k8s.io"
SHOWN = 3
"""How many dropped endpoints of one slice are shown; the others are counted."""

Json = Mapping[str, Any]


@dataclass(slots=True)
class Slice:
    """What one slice says."""

    kind: str
    ports: dict[str, int] = field(default_factory=dict)
    """All its ports, `http` or `dns/udp` to number."""
    port: int | None = None
    """The one that was asked for; None if the slice does not have it."""
    pods: dict[str, Endpoint] = field(default_factory=dict)
    """The ready ones, by uid or address."""
    named: list[Endpoint] = field(default_factory=list)
    """The ready ones that have a hostname and no uid: only that name ties their addresses together."""
    ready: int = 0
    dropped: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        """How much it holds: endpoints and ports."""
        return len(self.pods) + len(self.named) + len(self.ports)


class _Rejected(ValueError):
    """An endpoint that is dropped; the text says why."""


class SliceReader:
    """Reads one object of the API. Nothing is raised, whatever it is. `name` is the Service's, absolute."""

    def __init__(self, service: ServiceName, name: str, item: Json) -> None:
        self._service, self._name, self._item = service, name, item
        self._slice = Slice(_kind_of(item))

    def read(self) -> Slice:
        kind, port = self._item.get("addressType"), self._service.port
        family = _FAMILIES.get(str(kind))
        if family is None:
            self._drop(f"addressType {quoted(kind)} is not read")
            return self._slice
        self._read_ports()
        if isinstance(port, int):
            self._slice.port = port
        self._read_endpoints(family)
        return self._slice

    def _drop(self, *lines: str, more: str = "") -> None:
        """Note the first few; the others are counted."""
        shown = [*lines[:SHOWN], f"{len(lines) - SHOWN} more {more}"] if len(lines) > SHOWN else lines
        who = f"EndpointSlice {printable(name_of(self._item))}"
        self._slice.dropped += [f"{who}: {line}" for line in shown]

    def _list_of(self, what: str) -> list[Any]:
        given = self._item.get(what)
        if isinstance(given, list):
            return given
        if given is not None:
            self._drop(f"{quoted(given)} is no list")
        return []

    def _read_ports(self) -> None:
        asked, read = self._service, self._slice
        dropped: list[str] = []
        for port in self._list_of("ports"):
            given = port if isinstance(port, dict) else {"port": port}
            name, number = given.get("name") or "", given.get("port")
            protocol = str(given.get("protocol") or "TCP").lower()
            if number is None and port is not None:
                continue  # "all ports": none to connect to
            if type(number) is not int or not 0 < number < 65536 or not isinstance(name, str):
                dropped.append(f"{quoted(port)} is no port")
                continue
            shown = printable(name, 63)
            read.ports[shown if protocol == "tcp" else f"{shown}/{printable(protocol, 20)}"] = number
            if name == asked.port and protocol == asked.protocol:
                read.port = number
        self._drop(*dropped, more="ports are malformed")
        numbers = set(read.ports.values())
        if asked.port is None and len(numbers) == 1:
            (read.port,) = numbers

    def _read_endpoints(self, family: int) -> None:
        dropped = []
        for endpoint in self._list_of("endpoints"):
            try:
                self._read_endpoint(endpoint, family)
            except _Rejected as why:
                dropped.append(str(why))
        self._drop(*dropped, more="endpoints are malformed")

    def _read_endpoint(self, endpoint: object, family: int) -> None:
        read = self._slice
        if not isinstance(endpoint, dict):
            raise _Rejected(f"{quoted(endpoint)} is no endpoint")
        conditions = endpoint.get("conditions") or {}
        if not isinstance(conditions, dict):
            raise _Rejected(f"conditions {quoted(conditions)}")
        if conditions.get("ready") not in (True, None):
            return
        read.ready += 1
        given = endpoint.get("addresses")
        if not isinstance(given, list) or not given:
            raise _Rejected(f"an endpoint without addresses: {quoted(endpoint)}")
        reference = endpoint.get("targetRef")
        uid = reference.get("uid") if isinstance(reference, dict) else None
        # The API gives no meaning to further addresses. CoreDNS shows them, as pods of their own.
        addresses = [_address(text, family) for text in (given[:1] if uid else given)]
        hostname = endpoint.get("hostname") or None
        if hostname is not None and not (isinstance(hostname, str) and LABEL.fullmatch(hostname)):
            raise _Rejected(f"{quoted(hostname)} is no hostname")
        if read.port is None:
            return
        for address in addresses:
            label = dashed(address)
            pod = Endpoint(
                (address,),
                read.port,
                None if hostname == label else hostname,  # over DNS such a hostname looks like none, too
                f"{hostname or label}.{self._name}",
                _text(endpoint.get("zone")),
                _text(endpoint.get("nodeName")),
            )
            if uid or pod.hostname is None:
                read.pods[str(uid or address)[:253]] = pod
            else:
                read.named.append(pod)


def _kind_of(item: Json) -> str:
    """The kind of the Service, by the labels; "unknown" if no controller of Kubernetes wrote it."""
    metadata = item.get("metadata")
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    if not isinstance(labels, dict):
        return "unknown"
    if _HEADLESS in labels:
        return "headless"
    return "cluster-ip" if labels.get(_MANAGED_BY) == _CONTROLLER else "unknown"


def name_of(item: Json) -> str:
    metadata = item.get("metadata")
    return str(metadata.get("name") if isinstance(metadata, dict) else None)[:253]


def _address(text: object, family: int) -> str:
    try:
        address = canonical(text) if isinstance(text, str) else ""
    except ValueError:
        address = ""
    if not address or family_of(address) != family or "%" in address:
        raise _Rejected(f"{quoted(text)} is no IPv{family} address")
    if why := rejection_reason(address, False, None):
        raise _Rejected(f"{address}: {why}")
    return address


def _text(given: object) -> str | None:
    """A zone or a node: shown in many places, so it is made printable here."""
    return printable(given, 253) if isinstance(given, str) and given else None
