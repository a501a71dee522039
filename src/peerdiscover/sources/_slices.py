"""EndpointSlices as one answer: the union over all slices of a Service. Pure.

Rules of this room:

* A slice is kept under its name and replaced whole; the answer is made of all of them, never slice by
  slice. So a pod that moves from one slice to another is no change.
* A pod is its `targetRef.uid`, else its hostname, else its address. One that stands in two slices counts
  once; where they disagree it is in, since it is being moved: addition needs no evidence.
* `ready` decides, as in CoreDNS; nil means ready. So `publishNotReadyAddresses` works by itself: such
  slices say ready of everybody. `serving`, `terminating`, `hints` and who manages a slice play no part.
* Peers are those of DNS: a hostname only where the endpoint has one, else the dashed address as name.
  Addresses of both families are one pod's where uid or hostname ties them together, IPv4 first.
* What is malformed is dropped and reported; of a slice that cannot be read the last version stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from peerdiscover.answers import Answer, Endpoint, Outcome
from peerdiscover.errors import ConfigurationError
from peerdiscover.names import LABEL, ServiceName

from ._trust import refuse_address

__all__ = ["Slices"]

HEADLESS = "service.kubernetes.io/headless"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
CONTROLLER = "endpointslice-controller.k8s.io"
_FAMILIES = {"IPv4": 4, "IPv6": 6}


class _MalformedError(Exception):
    """Why something is not believed."""


@dataclass(frozen=True, slots=True)
class _Port:
    name: str
    protocol: str
    number: int


@dataclass(frozen=True, slots=True)
class _Seen:
    """One ready endpoint of one slice."""

    uid: str
    address: str
    hostname: str | None
    zone: str | None
    node: str | None


@dataclass(frozen=True, slots=True)
class _Slice:
    kind: str
    ports: tuple[_Port, ...]
    endpoints: tuple[_Seen, ...]
    dropped: tuple[str, ...]


@dataclass(slots=True)
class _Pod:
    """What several slices say of one pod at one port."""

    port: int
    hostname: str | None
    zone: str | None
    node: str | None
    addresses: dict[str, None] = field(default_factory=dict)


class Slices:
    """The slices of one Service. `name` is its absolute DNS name, with the trailing dot."""

    def __init__(self, service: ServiceName, name: str) -> None:
        self._service = service
        self._name = name
        self._slices: dict[str, _Slice] = {}
        self._unreadable: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._slices)

    def put(self, given: object) -> None:
        """A slice as it is now."""
        name = _name_of(given)
        try:
            self._slices[name] = _slice(given, name)
            self._unreadable.pop(name, None)
        except _MalformedError as error:
            self._unreadable[name] = f"slice {name}: {error}; its last version stands"

    def remove(self, given: object) -> None:
        """A slice that is gone."""
        self._slices.pop(_name_of(given), None)
        self._unreadable.pop(_name_of(given), None)

    def answer(self) -> Answer:
        """Who is there: resolved, empty, not found (no slices, or no such port), or failed: which port?"""
        dropped = (*self._unreadable.values(), *(line for s in self._slices.values() for line in s.dropped))
        told = Answer(outcome=Outcome.NOT_FOUND, authoritative=True, dropped=dropped, kind=self._kind())
        if not self._slices:
            return told
        port, problem = self._port()
        if problem is not None:
            return Answer.failed(problem).with_(dropped=dropped)
        endpoints = tuple(self._endpoints(port))
        if endpoints:
            warnings = self._warnings(port) if isinstance(port, int) else ()
            return told.with_(outcome=Outcome.RESOLVED, endpoints=endpoints, warnings=warnings)
        ports = self._ports()
        if isinstance(port, str) and ports and not any(self._is_meant(p, port) for p in ports):
            hint = f"the Service's ports are {_shown(ports)}"
            return told.with_(hint=hint)
        return told.with_(outcome=Outcome.EMPTY, hint="the Service has no pod that is ready")

    def _kind(self) -> str:
        kinds = {each.kind for each in self._slices.values()}
        return kinds.pop() if len(kinds) == 1 else "headless" if "headless" in kinds else "unknown"

    # Which port

    def _ports(self) -> list[_Port]:
        return sorted({p for s in self._slices.values() for p in s.ports}, key=lambda p: (p.name, p.number))

    def _port(self) -> tuple[int | str, ConfigurationError | None]:
        """The port that is meant: a number, or a port's name, which may be empty."""
        if self._service.port is not None:
            return self._service.port, None
        ports = self._ports()
        if not ports:
            if not any(s.endpoints for s in self._slices.values()):
                return "", None
            return "", ConfigurationError(
                f"{self._service}: the EndpointSlices of {self._name} tell no ports: "
                f"say which, such as {self._service}:8080"
            )
        if len({(p.name, p.protocol) for p in ports}) > 1:
            examples = " or ".join(f"{self._service}:{p.name or p.number}" for p in ports[:2])
            return "", ConfigurationError(
                f"{self._service} has several ports ({_shown(ports)}): say which, {examples}"
            )
        return ports[0].name, None

    def _is_meant(self, port: _Port, name: str) -> bool:
        wanted = self._service.protocol.upper()
        return port.name == name and (self._service.port is None or port.protocol == wanted)

    def _warnings(self, number: int) -> tuple[str, ...]:
        ports = self._ports()
        if not ports or any(p.number == number for p in ports):
            return ()
        theirs = f"no EndpointSlice of {self._name} has the port {number}; they have {_shown(ports)}."
        return (f"{theirs} {number} is used all the same; a headless Service translates no ports",)

    # Who is there

    def _endpoints(self, port: int | str) -> Iterable[Endpoint]:
        shared = self._shared_hostnames()
        pods: dict[tuple[str, int], _Pod] = {}
        for _, each in sorted(self._slices.items()):
            numbers = (
                [port] if isinstance(port, int) else [p.number for p in each.ports if self._is_meant(p, port)]
            )
            for seen in each.endpoints:
                named = seen.hostname if seen.hostname not in shared else None
                who = seen.uid or named or seen.address
                for number in numbers:
                    pod = pods.setdefault((who, number), _Pod(number, seen.hostname, seen.zone, seen.node))
                    pod.addresses[seen.address] = None
        for pod in pods.values():
            addresses = tuple(sorted(pod.addresses, key=lambda address: ":" in address))
            label = pod.hostname or _dashed(addresses[0])
            yield Endpoint(addresses, pod.port, pod.hostname, f"{label}.{self._name}", pod.zone, pod.node)

    def _shared_hostnames(self) -> set[str | None]:
        """Hostnames of endpoints without uid that several of one family have: those are several pods."""
        of: dict[tuple[str, bool], set[str]] = {}
        for each in self._slices.values():
            for seen in each.endpoints:
                if seen.hostname and not seen.uid:
                    of.setdefault((seen.hostname, ":" in seen.address), set()).add(seen.address)
        return {hostname for (hostname, _), addresses in of.items() if len(addresses) > 1}


def _shown(ports: Iterable[_Port]) -> str:
    """`http (8080), metrics (9100)`; a port's number alone where it has no name."""
    texts = (f"{port.name} ({port.number})" if port.name else str(port.number) for port in ports)
    return ", ".join(dict.fromkeys(texts))


def _dashed(address: str) -> str:
    """The label that CoreDNS makes of an address (kubernetes plugin, `endpointHostname`)."""
    label = address.replace(".", "-").replace(":", "-")
    return f"{label}0" if label.endswith("-") else label


# Reading one slice


def _name_of(given: object) -> str:
    metadata = given.get("metadata") if isinstance(given, Mapping) else None
    name = metadata.get("name") if isinstance(metadata, Mapping) else None
    return name if isinstance(name, str) else ""


def _slice(given: Any, name: str) -> _Slice:
    if not name or not isinstance(given, Mapping):
        raise _MalformedError("no EndpointSlice")
    labels = given["metadata"].get("labels") or {}
    kind = "unknown"
    if isinstance(labels, Mapping):
        if HEADLESS in labels:
            kind = "headless"
        elif labels.get(MANAGED_BY) == CONTROLLER:
            kind = "cluster-ip"
    family = _FAMILIES.get(given.get("addressType"))  # type: ignore[arg-type]  # whatever stands there
    if family is None:  # FQDN: names, which nobody can connect to as they stand
        return _Slice(kind, (), (), (f"slice {name}: addressType {given.get('addressType')!r} is not used",))
    listed, ports = given.get("endpoints") or [], given.get("ports") or []
    if not isinstance(listed, list) or not isinstance(ports, list):
        raise _MalformedError("endpoints or ports are no lists")
    dropped: list[str] = []
    endpoints = [seen for entry in listed for seen in _read(lambda e=entry: _seen(e, family), name, dropped)]
    numbers = [port for entry in ports for port in _read(lambda e=entry: _ports(e), name, dropped)]
    return _Slice(kind, tuple(numbers), tuple(endpoints), tuple(dropped))


def _read(read: Any, name: str, dropped: list[str]) -> list[Any]:
    try:
        return list(read())
    except _MalformedError as error:
        dropped.append(f"slice {name}: {error}")
        return []


def _seen(entry: Any, family: int) -> Iterable[_Seen]:
    if not isinstance(entry, Mapping):
        raise _MalformedError("an endpoint is no mapping")
    conditions = entry.get("conditions") or {}
    if not isinstance(conditions, Mapping):
        raise _MalformedError("an endpoint's conditions are no mapping")
    if conditions.get("ready") is False:
        return ()
    target = entry.get("targetRef") or {}
    uid = target.get("uid") if isinstance(target, Mapping) else None
    addresses = entry.get("addresses")
    if not isinstance(addresses, list) or not addresses:
        raise _MalformedError("an endpoint without addresses")
    hostname = entry.get("hostname") or None
    if hostname is not None and not (isinstance(hostname, str) and LABEL.fullmatch(hostname)):
        raise _MalformedError(f"an endpoint with the hostname {hostname!r}, which is no label")
    # Of several addresses only the first has a meaning (EndpointSlice API).
    address = _address(addresses[0], family)
    return (
        _Seen(_text(uid) or "", address, hostname, _text(entry.get("zone")), _text(entry.get("nodeName"))),
    )


def _address(text: object, family: int) -> str:
    try:
        address = ip_address(text) if isinstance(text, str) and "%" not in text else None
    except ValueError:
        address = None
    if address is None or address.version != family:
        raise _MalformedError(f"an endpoint with the address {text!r}, which is none of IPv{family}")
    if why := refuse_address(str(address), from_loopback=False, networks=None):
        raise _MalformedError(f"an endpoint with the address {address}: {why}")
    return str(address)


def _ports(entry: Any) -> Iterable[_Port]:
    if not isinstance(entry, Mapping):
        raise _MalformedError("a port is no mapping")
    number, name, protocol = entry.get("port"), entry.get("name") or "", entry.get("protocol") or "TCP"
    if number is None:  # "not restricted": no port that one could connect to
        return ()
    if type(number) is not int or not 0 < number < 65536:
        raise _MalformedError(f"a port with the number {number!r}")
    if not isinstance(name, str) or not isinstance(protocol, str):
        raise _MalformedError("a port whose name or protocol is no text")
    return (_Port(name, protocol, number),)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
