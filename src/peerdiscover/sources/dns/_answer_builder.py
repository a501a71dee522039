"""From records to pods: what the replies of one lookup mean. Pure.

Invariants:

* An SRV target beneath the service is a pod. Its label is the pod's hostname, unless CoreDNS made
  the label from the pod's address (`10-244-0-7`).
* A pod with a hostname has the addresses of both families, the preferred one first. If a hostname has
  several addresses of one family, several pods share it: they become one endpoint for each address, of
  the preferred family only, since nothing ties their other addresses to them.
* Pods without hostnames cannot be paired over DNS. Those of IPv4 count, or those of IPv6 if there is no
  IPv4, so that no pod is in the set twice.
* Each rejected record is noted in one line. The TTL of an answer is the lowest of the replies behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from peerdiscover._labels import dashed_address
from peerdiscover.answers import Answer, Endpoint, family_of
from peerdiscover.errors import Outcome
from peerdiscover.names import ServiceName
from peerdiscover.sources._server import Server
from peerdiscover.sources._validation import Network, rejection_reason

from ._remembered import NameHistory
from ._target_rules import label_beneath, target_rejection
from ._types import ADDRESS_TYPES, Reply, ReplyStatus

Family = Literal["any", "ipv4", "ipv6"]

_dashed_address = lru_cache(maxsize=16384)(dashed_address)
"""Cached, since the same labels come with every answer."""


@dataclass(frozen=True, slots=True)
class LookupConfig:
    """What a lookup needs besides the request. `DNS` explains those that users set."""

    name: str
    """The service's absolute name."""
    service: ServiceName
    """The name as the user wrote it."""
    family: Family = "any"
    networks: tuple[Network, ...] | None = None
    any_target: bool = False
    local_namespace: str | None = None
    cluster_domain: str = "cluster.local"
    asks_elsewhere: bool = False
    """The nameservers are this machine's, and its resolv.conf is none that a cluster wrote."""
    history: NameHistory = field(default_factory=NameHistory)

    @property
    def families(self) -> tuple[int, ...]:
        """The families that are asked for, the preferred one first."""
        return {"any": (4, 6), "ipv4": (4,), "ipv6": (6,)}[self.family]

    @property
    def in_cluster(self) -> bool:
        """Whether this is a Service's name: as it was written, or by its form, SERVICE.NAMESPACE.svc.…"""
        return not self.service.is_external or self.name.split(".")[2:3] == ["svc"]


@dataclass(slots=True)
class Target:
    """An SRV target, with the ports of all its records."""

    name: str
    label: str
    """Its label beneath the service; "" for the service itself; the whole name elsewhere."""
    ports: dict[int, int] = field(default_factory=dict)
    """Each with the lowest priority of its records."""
    addresses: tuple[str, ...] = ()
    """The accepted ones."""
    resolved: bool = False
    """Whether its addresses arrived, accepted or not, or it is proven to have none."""

    @property
    def dashed(self) -> str | None:
        """The address that its label was made from; None if it is a hostname."""
        address = _dashed_address(self.label.partition(".")[0]) if self.label else None
        return address if address and (not self.addresses or address in self.addresses) else None

    @property
    def hostname(self) -> str | None:
        return None if self.dashed or not self.label else self.label


class AnswerBuilder:
    """Turns the replies of one lookup into endpoints, and collects the notes that go into the answer."""

    def __init__(self, config: LookupConfig) -> None:
        self.config = config
        self.dropped: dict[str, None] = {}
        self.warnings: dict[str, None] = {}
        self.unresolved: set[str] = set()
        """Pods that are listed, but whose addresses are not known: labels, or addresses made into labels."""
        self._ignored: list[str] = []
        self._servers: dict[Server, None] = {}
        self._ttls: list[float] = []

    # Notes

    def note_reply(self, reply: Reply) -> None:
        """Remember which servers were asked, and what they should be warned of."""
        self._servers.update(dict.fromkeys(reply.asked or ((reply.server,) if reply.server else ())))
        if reply.note:
            self.warnings[reply.note] = None
        self._ignored += reply.ignored

    def count_ttl(self, reply: Reply) -> None:
        """The answer relies on this reply, so its TTL counts."""
        if reply.ttl is not None:
            self._ttls.append(float(reply.ttl))

    def answer(self, outcome: Outcome, endpoints: Iterable[Endpoint] = (), **rest: object) -> Answer:
        """The answer, with all notes."""
        return Answer(outcome=outcome, endpoints=tuple(dict.fromkeys(endpoints))).replace(
            ttl=min(self._ttls, default=None), **self._notes(), **rest
        )

    def failed(self, error: BaseException | str) -> Answer:
        return Answer.failed(error).replace(**self._notes())

    def all_rejected(self) -> Answer:
        """All records were rejected. That is no evidence that there are no pods."""
        reasons = list(self.dropped)
        more = f"; and {len(reasons) - 3} more" if len(reasons) > 3 else ""
        return self.failed(f"every record was rejected: {'; '.join(reasons[:3])}{more}")

    def _notes(self) -> dict[str, object]:
        return {
            "name": self.config.name,
            "servers": tuple(map(str, self._servers)),
            "dropped": (*self.dropped, *self._ignored),
            "warnings": tuple(self.warnings),
        }

    # Records

    def accept(self, owner: str, addresses: Iterable[str], server: Server | None) -> tuple[str, ...]:
        """The addresses that are accepted; the others are noted."""
        loopback = server is not None and server.is_loopback
        accepted = []
        for address in addresses:
            why = rejection_reason(address, loopback, self.config.networks)
            if why:
                self.dropped[f"{ADDRESS_TYPES[family_of(address)].name} {owner} {address}: {why}"] = None
            else:
                accepted.append(address)
        return tuple(dict.fromkeys(accepted))

    def targets(self, reply: Reply) -> dict[str, Target]:
        """The accepted targets of an SRV reply, with the addresses that came along."""
        parents = tuple(dict.fromkeys((self.config.name, without_service_labels(reply.canonical))))
        found: dict[str, Target] = {}
        for record in reply.services:
            anywhere = self.config.any_target or not self.config.in_cluster
            why = target_rejection(record, None if anywhere else parents)
            if why:
                shown = f"{record.priority} {record.weight} {record.port} {record.target}"
                self.dropped[f"SRV {reply.question.name} {shown}: {why}"] = None
                continue
            target = found.get(record.target)
            if target is None:
                label = label_beneath(record.target, parents)
                target = Target(record.target, record.target.rstrip(".") if label is None else label)
                found[record.target] = target
            priority = target.ports.get(record.port, record.priority)
            target.ports[record.port] = min(priority, record.priority)
        for name, target in found.items():
            glue = reply.glue.get(name, ())
            requested = [a for a in glue if family_of(a) in self.config.families]
            target.addresses = self.accept(name, requested, reply.server)
            target.resolved = bool(glue)  # servers that send glue send that of both families
        return found

    # Endpoints

    def endpoints(self, targets: Mapping[str, Target], number: int | None = None) -> list[Endpoint]:
        """The pods of the targets whose addresses are known. `number` overrides their own ports."""
        # A target whose address could not be asked counts here: it proves a pod of its family.
        there = [t for t in targets.values() if t.addresses or not t.resolved]
        dashed = {family_of(t.dashed) for t in there if t.dashed}
        preferred = self.config.families[0] if self.config.families[0] in dashed else 6
        instance = number is None and not self.config.in_cluster
        found = []
        for target in targets.values():
            if target.dashed and family_of(target.dashed) != preferred:
                continue
            ports = target.ports if number is None else {number: min(target.ports.values(), default=0)}
            if not self._pairs_ports(target, ports):
                continue
            for port, priority in ports.items():
                found += [
                    Endpoint(
                        group, port, target.hostname, target.name, priority=priority, is_instance=instance
                    )
                    for group in one_for_each_pod(target.addresses)
                ]
        return found

    def _pairs_ports(self, target: Target, ports: Iterable[int]) -> bool:
        """Whether it is known which port belongs to which address; else no peer is made up."""
        numbers = sorted(ports)
        if len(numbers) <= 1 or not _have_siblings(target.addresses):
            return True
        self.dropped[
            f"SRV {self.config.name} {target.name}: it has {len(target.addresses)} addresses and the ports "
            f"{', '.join(map(str, numbers))}, and DNS does not say which belong together"
        ] = None
        self.unresolved.add(target.label)
        return False

    # Verdicts

    def negative(self, replies: Iterable[Reply]) -> Answer:
        """NXDOMAIN from all: not found. NODATA from one: the name exists, with no pods behind it."""
        outcome, hint = Outcome.NOT_FOUND, ""
        for reply in replies:
            self.count_ttl(reply)
            hint = alias_hint(reply) or hint
            if reply.status is ReplyStatus.NODATA:
                outcome = Outcome.EMPTY
        return self.answer(outcome, hint=hint)

    def not_offered(self, srv: Reply) -> Answer:
        """The target ".": that is a clear "no"."""
        self.count_ttl(srv)
        hint = 'its SRV record says that the service is not offered (target ".")'
        return self.answer(Outcome.NOT_FOUND, hint=hint)

    def kind(self, targets: Mapping[str, Target]) -> str:
        """What SRV shows the service to be: see `PeerSet.kind`."""
        labels = [target.label for target in targets.values()]
        if not labels:
            return "unknown"
        if any(labels):
            return "external" if any("." in label for label in labels) else "headless"
        if not self.config.in_cluster:
            return "external"
        addresses = [a for target in targets.values() for a in target.addresses]
        if _have_siblings(addresses):
            return "unknown"
        self.warnings[
            f"{self.config.name} is a ClusterIP Service: one virtual address ({', '.join(addresses)}), "
            "behind which kube-proxy picks the pods. For discovery, set clusterIP: None (a headless Service)"
        ] = None
        return "cluster-ip"

    def compare_ports(self, number: int, targets: Mapping[str, Target]) -> None:
        """Warn if no SRV record has the port that the user wrote."""
        ports = sorted({port for target in targets.values() for port in target.ports})
        if ports and number not in ports:
            theirs = ", ".join(map(str, ports))
            self.warnings[
                f"no SRV record of {self.config.name} has the port {number}; they have {theirs}."
                f" {number} is used all the same; a headless Service translates no ports"
            ] = None


def _have_siblings(addresses: Iterable[str]) -> bool:
    """Whether there are several of one family."""
    families = [family_of(address) for address in addresses]
    return len(set(families)) < len(families)


def one_for_each_pod(addresses: Iterable[str]) -> list[tuple[str, ...]]:
    """The addresses behind one name, for each pod: one pod has them all, or some share the name."""
    together = sorted(dict.fromkeys(addresses), key=family_of)
    if _have_siblings(together):
        return [(address,) for address in together if family_of(address) == family_of(together[0])]
    return [tuple(together)] if together else []


def alias_hint(reply: Reply) -> str:
    """Where the CNAMEs of a negative reply lead, such as those of an ExternalName; "" without any."""
    if not reply.is_negative or reply.canonical in ("", reply.question.name):
        return ""
    return f"it is an alias of {reply.canonical}, which has no such records"


def without_service_labels(name: str) -> str:
    """`_http._tcp.web.prod…` → `web.prod…`."""
    labels = name.split(".")
    while len(labels) > 2 and labels[0].startswith("_"):
        del labels[0]
    return ".".join(labels)
