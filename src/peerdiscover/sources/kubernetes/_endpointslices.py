"""EndpointSlices in, one whole answer out: the union over all slices of a Service. Pure.

Rules of this room:

* A slice is read once, when it comes. The answer is made of all slices together, never slice by slice:
  a pod that moves from one to another stands in both for a moment, and is one pod.
* A pod is who its `targetRef.uid` says; without one, its address. Its addresses of both families are one
  endpoint, IPv4 first. Where two slices disagree about it, ready wins (a pod too many is tried and left
  out, one too few is an outage), and of two ports or addresses those that were told last.
* Ready decides, as in CoreDNS: a condition that is missing counts as ready (the API's own rule), and
  `publishNotReadyAddresses` shows itself in it. `hints` and who manages a slice say nothing here.
* Peers equal those of DNS: a hostname where the endpoint has one, the label that CoreDNS would write.
* A malformed slice, port or endpoint is dropped, and said in one line; the rest counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

from peerdiscover.answers import Answer, Endpoint, family_of
from peerdiscover.errors import ConfigurationError, Outcome
from peerdiscover.names import LABEL, ServiceName
from peerdiscover.sources._validation import rejection_reason

__all__ = ["Naming", "Slices"]

_FAMILIES = {"IPv4": 4, "IPv6": 6}
_HEADLESS = "service.kubernetes.io/headless"
_MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
_CONTROLLER = "endpointslice-controller.k8s.io"
_SHOWN = 3
"""How many dropped endpoints of one slice are shown; the others are counted."""

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Naming:
    """What an answer is about."""

    service: ServiceName
    name: str
    """The Service's absolute DNS name."""
    servers: tuple[str, ...] = ()
    """The API server, as errors name it."""


@dataclass(slots=True)
class _Read:
    """One slice, as far as it matters."""

    kind: str
    ports: dict[str, int] = field(default_factory=dict)
    """`http` or `dns/udp` to number: what the slice has, for texts."""
    port: int | None = None
    """The one that is asked for; None where the slice does not have it."""
    pods: dict[str, Endpoint] = field(default_factory=dict)
    """The ready ones, by uid or address."""
    named: list[Endpoint] = field(default_factory=list)
    """The ready ones that have a hostname and no uid: only that name ties their addresses together."""
    ready: int = 0
    dropped: list[str] = field(default_factory=list)


class _RefusedError(ValueError):
    """Why something is not believed."""


class Slices:
    """The slices of one Service. `put` and `remove` take objects of the API; `answer` is the union."""

    def __init__(self, naming: Naming) -> None:
        self._naming = naming
        self._slices: dict[str, _Read] = {}

    def __len__(self) -> int:
        return len(self._slices)

    def put(self, item: Json) -> None:
        """A slice is there, or is another one now."""
        name = _name_of(item)
        self._slices.pop(name, None)  # what was told last stands last
        self._slices[name] = _Reader(self._naming, item).read()

    def remove(self, item: Json) -> None:
        """A slice is gone."""
        self._slices.pop(_name_of(item), None)

    def answer(self) -> Answer:
        """Who is there, by all slices together."""
        read = list(self._slices.values())
        kinds = {one.kind for one in read}
        kind = next((kind for kind in ("headless", "cluster-ip", "unknown") if kind in kinds), "")
        notes: dict[str, Any] = {
            "kind": kind,
            "name": self._naming.name,
            "servers": self._naming.servers,
            "dropped": tuple(line for one in read for line in one.dropped),
            "authoritative": True,
        }
        if error := self._ambiguity(read):
            return Answer.failed(error).replace(**notes)
        endpoints = tuple(_union(read))
        if endpoints:
            return Answer(
                outcome=Outcome.RESOLVED, endpoints=endpoints, warnings=tuple(self._warnings(read)), **notes
            )
        if not read:
            hint = "there are no EndpointSlices of it"
            return Answer(outcome=Outcome.NOT_FOUND, hint=hint, **notes)
        if hint := self._missing_port(read):
            return Answer(outcome=Outcome.NOT_FOUND, hint=hint, **notes)
        if notes["dropped"] and any(one.ready for one in read):
            reasons = "; ".join(notes["dropped"][:_SHOWN])
            return Answer.failed(f"every endpoint was refused: {reasons}").replace(**notes)
        return Answer(outcome=Outcome.EMPTY, **notes)

    # Ports

    def _ambiguity(self, read: list[_Read]) -> ConfigurationError | None:
        """Why no port can be chosen where the user named none."""
        if self._naming.service.port is not None:
            return None
        service = self._naming.service
        several = sorted({n for one in read if len(set(one.ports.values())) > 1 for n in one.ports.values()})
        if several:
            examples = " or ".join(f"{service}:{port}" for port in several[:2])
            shown = ", ".join(map(str, several))
            return ConfigurationError(f"{service} has several ports ({shown}): say which, {examples}")
        if any(one.ready for one in read) and not any(one.ports for one in read):
            return ConfigurationError(
                f"{service}: the EndpointSlices of {self._naming.name} tell no ports: "
                f"say which, such as {service}:8080"
            )
        return None

    def _missing_port(self, read: list[_Read]) -> str:
        """That the slices have ports, and the named one is not among them; else ""."""
        port = self._naming.service.port
        if not isinstance(port, str) or any(one.port is not None for one in read):
            return ""
        there = {name: number for one in read for name, number in one.ports.items()}
        if not there:
            return "the service is there, and tells no ports" if any(one.ready for one in read) else ""
        shown = ", ".join(f"{name or 'unnamed'}={number}" for name, number in sorted(there.items()))
        return f"the service is there, its port {port!r} is not; it has {shown}"

    def _warnings(self, read: list[_Read]) -> Iterator[str]:
        """That no pod has the number the user wrote: it is used as it is."""
        number = self._naming.service.port
        ports = sorted({port for one in read for port in one.ports.values()})
        if isinstance(number, int) and ports and number not in ports:
            theirs = ", ".join(map(str, ports))
            yield (
                f"no EndpointSlice of {self._naming.name} has the port {number}; they have {theirs}. "
                f"{number} is used all the same: it is the pods' port, which nothing translates"
            )


def _union(read: list[_Read]) -> Iterator[Endpoint]:
    pods: dict[str, Endpoint] = {}
    named: dict[str, list[Endpoint]] = {}
    for one in read:
        for who, endpoint in one.pods.items():
            before = pods.get(who)
            pods[who] = endpoint if before is None else _together(before, endpoint)
        for endpoint in one.named:
            named.setdefault(endpoint.hostname or "", []).append(endpoint)
    yield from pods.values()
    for some in named.values():
        yield from _by_hostname(some)


@lru_cache(maxsize=16384)
def _together(before: Endpoint, now: Endpoint) -> Endpoint:
    """One pod that stands in two slices: of both families, or twice in one."""
    addresses = {family_of(address): address for address in (*before.addresses, *now.addresses)}
    first = before if family_of(now.addresses[0]) > family_of(before.addresses[0]) else now
    return replace(
        now,
        addresses=tuple(addresses[family] for family in sorted(addresses)),
        hostname=now.hostname or before.hostname,
        fqdn=first.fqdn,
        zone=now.zone or before.zone,
        node=now.node or before.node,
    )


def _by_hostname(some: list[Endpoint]) -> list[Endpoint]:
    """Endpoints without a uid that share a hostname: as in DNS one pod, or one an address, of one family."""
    by_family: dict[int, dict[str, Endpoint]] = {}
    for endpoint in some:
        address = endpoint.addresses[0]
        by_family.setdefault(family_of(address), {})[address] = endpoint
    first, *rest = (list(by_family[family].values()) for family in sorted(by_family))
    if len(first) == 1 and rest and len(rest[0]) == 1:
        return [_together(rest[0][0], first[0])]
    return first


class _Reader:
    """Reads one slice."""

    def __init__(self, naming: Naming, item: Json) -> None:
        self._naming = naming
        self._item = item
        self._who = f"EndpointSlice {_name_of(item)}"

    def read(self) -> _Read:
        metadata = self._item.get("metadata")
        labels = metadata.get("labels") if isinstance(metadata, dict) else None
        read = _Read(_kind_by(labels if isinstance(labels, dict) else {}))
        family = _FAMILIES.get(str(self._item.get("addressType")))
        if family is None:
            kind = _shown(self._item.get("addressType"))
            read.dropped.append(f"{self._who}: addressType {kind} is not read")
            return read
        self._read_ports(read)
        wanted = self._naming.service.port
        if isinstance(wanted, int):
            read.port = wanted
        dropped = []
        for endpoint in _list_of(self._item.get("endpoints"), self._who, read.dropped):
            try:
                self._read_endpoint(read, endpoint, family)
            except _RefusedError as why:
                dropped.append(f"{self._who}: {why}")
        if len(dropped) > _SHOWN:
            dropped[_SHOWN:] = [f"{self._who}: {len(dropped) - _SHOWN} more endpoints are malformed"]
        read.dropped += dropped
        return read

    def _read_ports(self, read: _Read) -> None:
        wanted = self._naming.service
        for port in _list_of(self._item.get("ports"), self._who, read.dropped):
            given = port if isinstance(port, dict) else {"port": port}
            name, number = given.get("name") or "", given.get("port")
            protocol = str(given.get("protocol") or "TCP").lower()
            if number is None and port is not None:
                continue  # "all ports": none to connect to
            if type(number) is not int or not 0 < number < 65536 or not isinstance(name, str):
                read.dropped.append(f"{self._who}: {_shown(port)} is no port")
                continue
            read.ports[name if protocol == "tcp" else f"{name}/{protocol}"] = number
            if name == wanted.port and protocol == wanted.protocol:
                read.port = number
        numbers = set(read.ports.values())
        if wanted.port is None and len(numbers) == 1:
            (read.port,) = numbers

    def _read_endpoint(self, read: _Read, endpoint: object, family: int) -> None:
        if not isinstance(endpoint, dict):
            raise _RefusedError(f"{_shown(endpoint)} is no endpoint")
        conditions = endpoint.get("conditions") or {}
        if not isinstance(conditions, dict):
            raise _RefusedError(f"conditions {_shown(conditions)}")
        if conditions.get("ready") not in (True, None):
            return
        read.ready += 1
        given = endpoint.get("addresses")
        if not isinstance(given, list) or not given:
            raise _RefusedError(f"an endpoint without addresses: {_shown(endpoint)}")
        reference = endpoint.get("targetRef")
        uid = reference.get("uid") if isinstance(reference, dict) else None
        # The API gives no meaning to further addresses. CoreDNS shows them, as pods of their own.
        addresses = [_address(text, family) for text in given[:1] if uid] or [
            _address(text, family) for text in given
        ]
        hostname = endpoint.get("hostname") or None
        if hostname is not None and not (isinstance(hostname, str) and LABEL.fullmatch(hostname)):
            raise _RefusedError(f"{_shown(hostname)} is no hostname")
        if read.port is None:
            return
        for address in addresses:
            label = _label(address)
            pod = Endpoint(
                (address,),
                read.port,
                None if hostname == label else hostname,  # DNS could not tell such a one from none, either
                f"{hostname or label}.{self._naming.name}",
                _text(endpoint.get("zone")),
                _text(endpoint.get("nodeName")),
            )
            if uid or pod.hostname is None:
                read.pods[str(uid or address)] = pod
            else:
                read.named.append(pod)


def _kind_by(labels: Json) -> str:
    """What the labels of a slice tell of the Service. Of one that others wrote they tell nothing."""
    if _HEADLESS in labels:
        return "headless"
    return "cluster-ip" if labels.get(_MANAGED_BY) == _CONTROLLER else "unknown"


def _name_of(item: Json) -> str:
    metadata = item.get("metadata")
    return str(metadata.get("name") if isinstance(metadata, dict) else None)[:253]


def _list_of(given: object, who: str, dropped: list[str]) -> list[Any]:
    if given is None:
        return []
    if not isinstance(given, list):
        dropped.append(f"{who}: {_shown(given)} is no list")
        return []
    return given


@lru_cache(maxsize=16384)
def _canonical(text: str) -> str:
    return str(ip_address(text))


def _address(text: object, family: int) -> str:
    try:
        address = _canonical(text) if isinstance(text, str) else ""
    except ValueError:
        address = ""
    if not address or family_of(address) != family or "%" in address:
        raise _RefusedError(f"{_shown(text)} is no IPv{family} address")
    if why := rejection_reason(address, False, None):
        raise _RefusedError(f"{address}: {why}")
    return address


def _label(address: str) -> str:
    """The label that CoreDNS makes of an address (kubernetes plugin, `endpointHostname`)."""
    label = address.replace(".", "-").replace(":", "-")
    return f"{label}0" if label.endswith("-") else label


def _text(given: object) -> str | None:
    return given if isinstance(given, str) and given else None


def _shown(given: object) -> str:
    text = repr(given)
    return text if len(text) <= 100 else f"{text[:99]}…"
