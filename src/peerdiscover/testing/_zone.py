"""What a cluster's DNS knows, and how it answers a question: CoreDNS's kubernetes plugin in short.

Invariants:

* No I/O, no clock and no randomness: the same zone gives the same records in the same order.
  Shuffling and truncation come later.
* The answers follow the Kubernetes DNS specification 1.1.0, and CoreDNS in what it does beyond that
  (SRV on the bare name, NXDOMAIN if no endpoint is ready).
* A zone is immutable: `with_service` returns another one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

from ._endpoints import Service, ServiceEndpoint, ServicePort
from ._messages import RCODES, RR, TYPES, Reply, labels_of, name_of

_A, _AAAA, _SRV = TYPES["A"], TYPES["AAAA"], TYPES["SRV"]


@dataclass(frozen=True, slots=True)
class _Found:
    """An address that belongs in an answer: CoreDNS's `msg.Service`."""

    type: int
    packed: bytes
    port: int | None  # None: no port, and so no SRV record
    target: tuple[str, ...]  # labels in front of `svc.ZONE`


class _NameError(Exception):
    """NXDOMAIN."""


@dataclass(frozen=True, slots=True)
class Zone:
    """A cluster's zone: its Services, and what all records share."""

    domain: str = "cluster.local"
    ttl: int = 5
    services: Mapping[tuple[str, str], Service] = field(default_factory=dict)
    """By namespace and name."""
    namespaces: frozenset[str] = frozenset({"default"})
    """All that exist, with or without Services."""
    pod_names: bool = False
    """Whether pods' names become labels (`endpoint_pod_names` in CoreDNS's configuration)."""
    serial: int = 1

    def with_service(self, service: Service) -> Zone:
        """Return this zone with that Service, which replaces one of the same name."""
        return replace(
            self,
            services={**self.services, (service.namespace, service.name): service},
            namespaces=self.namespaces | {service.namespace},
            serial=self.serial + 1,
        )

    def without_service(self, name: str, namespace: str) -> Zone:
        """Return this zone without that Service."""
        left = {key: service for key, service in self.services.items() if key != (namespace, name)}
        return replace(self, services=left, serial=self.serial + 1)

    def reply(self, name: bytes, kind: int, turn: int = 0) -> Reply:
        """Return the server's reply if `name` (in wire form) is asked for records of type `kind`.

        The slices of a Service come in their order, from slice number `turn` on.
        """
        path, zone = self._split(name)
        if zone is None:
            return self._reverse(name, path, kind)
        try:
            return self._forward(name, path, zone, kind, turn)
        except _NameError:
            return self._negative(RCODES["NXDOMAIN"], zone)

    def negative(self, name: bytes, rcode: int) -> Reply:
        """Return that code with the zone's SOA, as for a name without such records."""
        zone = self._split(name)[1]
        return Reply(rcode) if zone is None else self._negative(rcode, zone)

    def _split(self, name: bytes) -> tuple[list[str], bytes | None]:
        """Split a name into lower-case labels before the zone, and the zone as the question spells it.

        A name outside the zone gives all its labels and None.
        """
        labels = labels_of(name)
        count = self.domain.rstrip(".").count(".") + 1
        zone = name_of(".".join(labels[-count:]))
        if zone.lower() != name_of(self.domain.lower()):
            return [label.lower() for label in labels], None
        return [label.lower() for label in labels[:-count]], zone

    # One method for each kind of question

    def _forward(self, name: bytes, path: list[str], zone: bytes, kind: int, turn: int) -> Reply:
        answer: list[RR] = []
        additional: list[RR] = []
        if kind in (TYPES["AXFR"], TYPES["IXFR"]):
            return Reply(RCODES["REFUSED"])
        if kind == TYPES["SOA"]:
            answer = [] if path else [self._soa(zone)]
        elif kind == TYPES["TXT"] and path == ["dns-version"]:
            answer = [RR(name, kind, self.ttl, b"\x051.1.0")]
        elif (external := self._external(path)) is not None:
            answer = self._aliased(name, external, kind)
        else:
            found = list(self._find(path, turn))
            if kind == _SRV:
                answer, additional = self._srv(name, found, zone)
            elif kind in (_A, _AAAA):
                distinct = dict.fromkeys(item.packed for item in found if item.type == kind)
                answer = [RR(name, kind, self.ttl, packed) for packed in distinct]
            elif kind == TYPES["TXT"] and not found:
                raise _NameError
        if not answer:
            return self._negative(RCODES["NOERROR"], zone)
        return Reply(answer=answer, additional=additional, authoritative=True)

    def _srv(self, name: bytes, found: list[_Found], zone: bytes) -> tuple[list[RR], list[RR]]:
        weight = max(1, 100 // len(found)) if found else 0
        suffixes: dict[tuple[str, ...], bytes] = {}
        answer: dict[tuple[bytes, int], RR] = {}
        glue: dict[tuple[bytes, bytes], RR] = {}
        for item in found:
            if item.port is None:
                continue
            head, *tail = item.target
            rest = suffixes.get(key := tuple(tail))
            if rest is None:
                rest = suffixes[key] = name_of(".".join([*tail, "svc"]))[:-1] + zone
            label = head.encode()
            target = bytes((len(label),)) + label + rest
            data = struct.pack("!HHH", 0, weight, item.port)
            answer.setdefault((target, item.port), RR(name, _SRV, self.ttl, data, (target,)))
            glue.setdefault((target, item.packed), RR(target, item.type, self.ttl, item.packed))
        return list(answer.values()), list(glue.values())

    def _aliased(self, name: bytes, external: str, kind: int) -> list[RR]:
        target = name_of(external)
        alias = RR(name, TYPES["CNAME"], self.ttl, names=(target,))
        if kind == TYPES["CNAME"]:
            return [alias]
        if kind not in (_A, _AAAA):
            return []
        if self._split(target)[1] is None:
            return [alias]  # CoreDNS would forward what lies outside; there is no server to forward to
        inside = self.reply(target, kind)
        return [alias, *inside.answer] if inside.answer else []

    def _reverse(self, name: bytes, labels: list[str], kind: int) -> Reply:
        if labels[-2:] not in (["in-addr", "arpa"], ["ip6", "arpa"]):
            return Reply(RCODES["SERVFAIL"])  # another zone, and no server to forward to
        address = _address_of(labels)
        names: dict[str, None] = {}
        for service in self.services.values():
            if address in service.cluster_ips:
                names[f"{service.name}.{service.namespace}"] = None
        if not names:
            for service in self.services.values():
                for endpoint in service.endpoints():
                    if endpoint.address == address:
                        label = endpoint.label(pod_names=self.pod_names)
                        names[f"{label}.{service.name}.{service.namespace}"] = None
        if kind != TYPES["PTR"] or not names:
            return Reply(RCODES["SERVFAIL"])  # falls through, and there is no server to forward to
        targets = [name_of(f"{text}.svc.{self.domain}") for text in names]
        return Reply(
            answer=[RR(name, kind, self.ttl, names=(target,)) for target in targets], authoritative=True
        )

    def _negative(self, rcode: int, zone: bytes) -> Reply:
        return Reply(rcode, authority=[self._soa(zone)], authoritative=True)

    def _soa(self, zone: bytes) -> RR:
        names = (b"\x02ns\x03dns" + zone, b"\x0ahostmaster" + zone)
        tail = struct.pack("!5I", self.serial, 7200, 1800, 86400, self.ttl)
        return RR(zone, TYPES["SOA"], min(self.ttl, 300), names=names, tail=tail)

    # Which endpoints a name stands for

    def _service(self, path: list[str]) -> Service | None:
        """Return the Service that a path (labels before the zone) belongs to, or None."""
        return self.services.get((path[-2], path[-3])) if len(path) >= 3 else None

    def _external(self, path: list[str]) -> str | None:
        service = self._service(path)
        if service is None or not service.external_name or path[-1] != "svc":
            return None
        if len(path) > 3:
            raise _NameError
        return service.external_name

    def _find(self, path: list[str], turn: int) -> Iterator[_Found]:
        """Find the endpoints of a name: none if it exists without any, `_NameError` if it does not exist."""
        if not path or path in (["svc"], ["pod"]):
            return
        if path[-1] != "svc" or len(path) > 5 or (len(path) > 1 and path[-2] not in self.namespaces):
            raise _NameError
        if len(path) < 3:
            return
        service = self._service(path)
        if service is None:
            raise _NameError
        label = path[0] if len(path) == 4 else None
        port, protocol = (path[0], path[1]) if len(path) == 5 else ("", "")
        port, protocol = port.removeprefix("_"), protocol.removeprefix("_")
        found = list(_members(service, label, port, protocol, turn, pod_names=self.pod_names))
        if not found:
            raise _NameError
        yield from found


def _members(
    service: Service, label: str | None, port: str, protocol: str, turn: int, *, pod_names: bool
) -> Iterator[_Found]:
    own = (service.name, service.namespace)
    if service.cluster_ips and label is None:
        for number in _matching(service.ports, port, protocol):
            for address in service.cluster_ips:
                endpoint = ServiceEndpoint(address)
                yield _Found(endpoint.type, endpoint.packed, number, own)
        return
    for endpoint in service.endpoints(turn):
        name = endpoint.label(pod_names=pod_names)
        if label is None or label == name.lower():
            for number in _matching(endpoint.ports, port, protocol):
                yield _Found(endpoint.type, endpoint.packed, number, (name, *own))


def _matching(ports: Iterable[ServicePort], name: str, protocol: str) -> Iterator[int | None]:
    """Return the numbers of the matching ports; None stands for "no ports at all"."""
    for port in ports or (None,):
        if port is None:
            if not name and not protocol:
                yield None
        elif name in ("", port.name.lower()) and protocol in ("", port.protocol.lower()):
            yield port.number


def _address_of(labels: list[str]) -> str | None:
    """Return the address that a name under in-addr.arpa or ip6.arpa stands for."""
    parts = labels[-3::-1]
    text = ".".join(parts)
    if labels[-2] == "ip6":
        joined = "".join(parts)
        text = ":".join(joined[i : i + 4] for i in range(0, len(joined), 4))
    try:
        return str(ip_address(text))
    except ValueError:
        return None
