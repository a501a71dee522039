"""EndpointSlices in, whole answers out: the union over all slices of a Service. Pure.

Invariants:

* A slice is read once, when it comes (`_slices`). The answer is made of all slices together, never slice by
  slice: a pod that moves from one to another is in both for a moment, and is one pod.
* A pod is identified by its `targetRef.uid`; without one, by its address. Its addresses of both families are
  one endpoint, IPv4 first. If two slices disagree about it, ready wins (a pod too many is tried and left out,
  one too few is an outage), and of two ports or addresses the later ones.
* While a sync is running the old set stays; then it is replaced whole (`Publication`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

from peerdiscover.answers import Answer, Endpoint, family_of
from peerdiscover.errors import ConfigurationError, Outcome
from peerdiscover.names import ServiceName

from ._commands import Target
from ._events import Event, TooLargeError
from ._slices import SHOWN, Json, Slice, SliceReader, name_of

MAX_SLICES = 10_000
MAX_ENDPOINTS = 200_000
"""Of one Service, its slices' ports among them. A cluster has at most 150,000 pods (kubernetes.io:
considerations for large clusters)."""


class Slices:
    """The slices of one Service. `put` and `remove` take objects of the API; `answer` is the union."""

    def __init__(self, service: ServiceName, target: Target) -> None:
        self._service = service
        self._name = target.name
        self._servers = (target.server,)
        self._slices: dict[str, Slice] = {}
        self._endpoints = 0

    def __len__(self) -> int:
        return len(self._slices)

    @property
    def excess(self) -> str:
        """What there is too much of; "" if the set is one that a cluster can have."""
        if len(self._slices) > MAX_SLICES:
            return f"more than {MAX_SLICES:,} EndpointSlices"
        return f"more than {MAX_ENDPOINTS:,} endpoints and ports" if self._endpoints > MAX_ENDPOINTS else ""

    def put(self, item: Json) -> None:
        """A slice was added or modified."""
        self.remove(item)  # the latest comes last
        one = self._slices[name_of(item)] = SliceReader(self._service, self._name, item).read()
        self._endpoints += one.size

    def remove(self, item: Json) -> None:
        """A slice was deleted."""
        if one := self._slices.pop(name_of(item), None):
            self._endpoints -= one.size

    def answer(self) -> Answer:
        """The pods of all slices together."""
        read = list(self._slices.values())
        kinds = {one.kind for one in read}
        kind = next((kind for kind in ("headless", "cluster-ip", "unknown") if kind in kinds), "")
        notes: dict[str, Any] = {
            "kind": kind,
            "name": self._name,
            "servers": self._servers,
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
            reasons = "; ".join(notes["dropped"][:SHOWN])
            return Answer.failed(f"every endpoint was refused: {reasons}").replace(**notes)
        return Answer(outcome=Outcome.EMPTY, **notes)

    # Ports

    def _ambiguity(self, read: list[Slice]) -> ConfigurationError | None:
        """Why no port can be chosen, if the user named none."""
        service = self._service
        if service.port is not None:
            return None
        several = sorted({n for one in read if len(set(one.ports.values())) > 1 for n in one.ports.values()})
        if several:
            examples = " or ".join(f"{service}:{port}" for port in several[:2])
            shown = ", ".join(map(str, several))
            return ConfigurationError(f"{service} has several ports ({shown}): say which, {examples}")
        if any(one.ready for one in read) and not any(one.ports for one in read):
            return ConfigurationError(
                f"{service}: the EndpointSlices of {self._name} have no ports: "
                f"say which, such as {service}:8080"
            )
        return None

    def _missing_port(self, read: list[Slice]) -> str:
        """What to say if the slices have ports and the named one is not among them; else ""."""
        port = self._service.port
        if not isinstance(port, str) or any(one.port is not None for one in read):
            return ""
        there = {name: number for one in read for name, number in one.ports.items()}
        if not there:
            return "the Service is there, but it has no ports" if any(one.ready for one in read) else ""
        shown = ", ".join(f"{name or 'unnamed'}={number}" for name, number in sorted(there.items()))
        return f"the service is there, its port {port!r} is not; it has {shown}"

    def _warnings(self, read: list[Slice]) -> Iterator[str]:
        """A port number that no pod has is used as it is, with a warning."""
        number = self._service.port
        ports = sorted({port for one in read for port in one.ports.values()})
        if isinstance(number, int) and ports and number not in ports:
            yield (
                f"no EndpointSlice of {self._name} has the port {number}; they have "
                f"{', '.join(map(str, ports))}. {number} is used all the same: it is the pods' port, which "
                "nothing translates"
            )


def _union(read: list[Slice]) -> Iterator[Endpoint]:
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
    """One pod that is in two slices: of both families, or twice in one."""
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
    """Endpoints without a uid that share a hostname, as in DNS: one pod, or one per address of one family."""
    by_family: dict[int, dict[str, Endpoint]] = {}
    for endpoint in some:
        address = endpoint.addresses[0]
        by_family.setdefault(family_of(address), {})[address] = endpoint
    first, *rest = (list(by_family[family].values()) for family in sorted(by_family))
    if len(first) == 1 and rest and len(rest[0]) == 1:
        return [_together(rest[0][0], first[0])]
    return first


class Publication:
    """The set that peers are made of, and the one that a sync is collecting."""

    def __init__(self) -> None:
        self._slices: Slices | None = None
        self._incoming: Slices | None = None
        self._last: Answer | None = None
        self.failure_reported: bool = False
        """The last thing reported was a failure."""

    def begin_sync(self, service: ServiceName, target: Target) -> None:
        """What comes from now on is a set of its own."""
        self._incoming = Slices(service, target)

    def apply(self, event: Event) -> None:
        """Take an event in, of the sync if one is running. `TooLargeError` if the set grows without end."""
        slices = self._slices if self._incoming is None else self._incoming
        assert slices is not None
        if event.kind in ("ADDED", "MODIFIED"):
            slices.put(event.item)
            if slices.excess:
                raise TooLargeError(f"the Service has {slices.excess}: no cluster holds so many")
        elif event.kind == "DELETED":
            slices.remove(event.item)

    def complete_sync(self) -> bool:
        """What the sync brought replaces the set. Returns whether there are any slices."""
        assert self._incoming is not None
        self._slices, self._incoming = self._incoming, None
        return bool(self._slices)

    def changes(self) -> list[Answer]:
        """An answer, if peers show that something changed."""
        answer = self._answer()
        seen = self._last is not None and _visible(answer) == _visible(self._last)
        return [] if seen else self._report(answer)

    def confirm(self) -> list[Answer]:
        """The set as it is now."""
        return self._report(self._answer())

    def without_slices(self, status: int, service: str, namespace: str) -> list[Answer]:
        """There are no slices, and the server answers so when it is asked for the Service itself."""
        answer = self._answer()
        if status == 200:
            answer = answer.replace(outcome=Outcome.EMPTY, hint="the Service is there; no pod is behind it")
        elif status == 404:
            answer = answer.replace(hint=f"there is no Service {service} in the namespace {namespace}")
        return self._report(answer)

    def _answer(self) -> Answer:
        assert self._slices is not None
        return self._slices.answer()

    def _report(self, answer: Answer) -> list[Answer]:
        self._last, self.failure_reported = answer, False
        return [answer]


def _visible(answer: Answer) -> tuple[object, ...]:
    rest = (answer.outcome, answer.kind, answer.dropped, answer.warnings, answer.hint, str(answer.error))
    return answer.endpoints, rest
