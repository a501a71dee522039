"""Asking about one Service: the API server, DNS, this pod, and a connection to each pod.

Invariants:

* What is heard is put into a `World`; checks decide what it means. Sections come as they are known.
* What could not be asked is "not checked", with the reason.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from peerdiscover.answers import Answer, LookupRequest
from peerdiscover.errors import Outcome
from peerdiscover.membership.members import peers_of
from peerdiscover.names import ServiceName
from peerdiscover.peers import place_of
from peerdiscover.sources import _server
from peerdiscover.sources.dns import DNS
from peerdiscover.sources.environment import Environment

from ._api import read_namespace
from ._codes import Finding, NotChecked
from ._dns import ask_again, ask_servers, zone_exists
from ._names import CHECKS_OF_DNS, agree
from ._pods import MAX_PODS, connect, this_pod
from ._reached import CHECKS_OF_PODS
from ._report import Report, code_of, of_manifests
from ._world import CheckFunction, Heard, World

API_SECONDS = 5.0
LOOKUP_SECONDS = 3.0
MAX_TTL = 31.0
"""Seconds that a second round of answers waits at most: a TTL and one."""
OF_ANSWERS = ("PD103", "PD104", "PD105", "PD106", "PD107", "PD108", "PD109", "PD205")
"""What nothing is known of unless DNS answers."""
OF_CONNECTIONS = ("PD201", "PD202", "PD203")
OF_THIS_POD = ("PD203", "PD204")


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the report: what is known, and what was found."""

    title: str
    aside: str
    facts: list[str]
    findings: list[Finding]


@dataclass
class Asking:
    """The questions about one Service, in their order. `ConfigurationError` for what cannot be asked."""

    name: ServiceName
    environment: Environment
    servers: Sequence[_server.Server] | None
    """None: those of the environment."""
    seconds: float
    connects: bool
    report: Report
    world: World = field(init=False)
    _end: float = field(init=False)

    def __post_init__(self) -> None:
        self._end = time.monotonic() + self.seconds
        self._is_given = self.servers is not None
        self._servers = tuple(self.servers or self.environment.nameservers())
        namespace = self.name.namespace or self.environment.namespace()
        self._zone = self.name.domain or self.environment.cluster_domain() or "cluster.local"
        self._absolute = self.name.absolute(namespace, self._zone)
        self._namespace = namespace or ""
        self.own = this_pod(self.environment, self.name)

    @property
    def asked_from(self) -> str:
        return "outside of a pod" if self.own is None else f"{self.own.name} in {self.own.namespace}"

    def sections(self) -> Iterator[Section]:
        """Ask; each section as soon as it is known."""
        seconds = min(API_SECONDS, self.seconds / 2)
        objects, refused = read_namespace(self.environment, self._namespace, self.name.service, seconds)
        self.world = World(objects, self.name, self._namespace)
        heard = self.world.heard = self._hear()
        heard.refused = refused
        yield self._about_dns(heard)
        yield self._about_pods(heard)
        yield self._about_objects()

    @property
    def heard_nothing(self) -> bool:
        """Neither DNS nor the API could be asked."""
        return not self._servers and not self.world.objects.all

    def _left(self) -> float:
        return max(0.1, self._end - time.monotonic())

    # DNS

    def _hear(self) -> Heard:
        name = self.name
        heard = Heard(self._absolute, self._zone, own=self.own, is_given=self._is_given)
        if not self._servers:
            why = "no nameserver is known: resolv.conf has none, and --nameserver was not given"
            heard.answer = Answer.failed(why)
            return heard
        port = f"_{name.port}._{name.protocol}.{self._absolute}" if isinstance(name.port, str) else None
        heard.servers = ask_servers(self._servers, self._absolute, port)
        heard.answer = self._lookup(heard)
        peers = sorted(peers_of(heard.answer.endpoints).values(), key=place_of)
        me = self.environment.identity(name).find(peers)
        heard.peers = tuple(replace(peer, is_self=peer.key == me) for peer in peers)
        answering = [a for a, s in zip(self._servers, heard.servers, strict=True) if any(s.udp)]
        if answering:
            heard.zones = self._zones(answering[0])
        replies = [reply for server in heard.servers for reply in server.udp]
        if heard.answer.kind == "headless" and not agree(replies, self.world.ready):
            self._hear_again(heard)
        return heard

    def _lookup(self, heard: Heard) -> Answer:
        """The library's own answer; with a port that DNS gives, if the name's is not there."""
        name = self.name
        if name.port is None or heard.lacks_port:
            name = ServiceName(name.service, name.namespace, name.domain, (heard.srv_ports or [1])[0])
        if all(server.is_silent for server in heard.servers):
            return Answer.failed("no nameserver answers")
        source = DNS(
            [str(one) for one in self._servers], self._namespace, self._zone, environment=self.environment
        )
        request = LookupRequest(
            replace(name, scheme="dns", _text=""), timeout=min(LOOKUP_SECONDS, self._left())
        )
        answer = source.lookup(request)
        return source.lookup(replace(request, second_opinion=True)) if answer.is_empty else answer

    def _zones(self, server: _server.Server) -> dict[str, bool]:
        """Whether the zone in use is the cluster's; if not, whether those of the search list are."""
        search = self.own.search if self.own else ()
        others = [entry.removeprefix("svc.") for entry in search if entry.startswith("svc.")]
        zones: dict[str, bool] = {}
        for zone in dict.fromkeys((self._zone, *others, "cluster.local")):
            exists = zone_exists(server, zone)
            if exists is not None:
                zones[zone] = exists
            if exists:
                break
        return zones

    def _hear_again(self, heard: Heard) -> None:
        """Ask for another round after a TTL, if there is time for it."""
        wait = min((heard.answer.ttl or 5.0) + 1, MAX_TTL)
        if wait + 2 > self._left():
            return
        before = self.world.ready
        time.sleep(wait)
        ask_again(heard.servers, self._servers, self._absolute)
        if before is not None:
            seconds = min(API_SECONDS, self._left())
            where = (self.environment, self._namespace, self.name.service)
            now, _ = read_namespace(*where, seconds, ["EndpointSlice"])
            heard.slices_changed = World(now, self.name, self._namespace).ready != before

    def _about_dns(self, heard: Heard) -> Section:
        findings = self.report.run(CHECKS_OF_DNS, self.world)
        answer = heard.answer
        if not answer.is_evidence:
            why = str(answer.error or "no nameserver answers")
            self.report.not_checked.append(NotChecked(OF_ANSWERS, f"DNS gives no answer: {why}"))
        facts = [
            f"{server.address} answers over UDP in {1000 * server.seconds:.1f} ms, "
            f"over TCP in {1000 * server.tcp_seconds:.1f} ms"
            for server in heard.servers
            if any(server.udp) and any(server.tcp)
        ]
        if heard.zones.get(heard.zone):
            facts.append(f"the cluster's zone is {heard.zone}")
        if answer.outcome in (Outcome.RESOLVED, Outcome.PARTIAL) and answer.kind != "cluster-ip":
            names = " ".join(peer.key for peer in heard.peers[:6]) + (" …" if len(heard.peers) > 6 else "")
            ttl = f", TTL {answer.ttl:.0f} s" if answer.ttl is not None else ""
            replies = [reply for server in heard.servers for reply in server.udp if reply is not None]
            alike = " agree" if agree(replies, self.world.ready) else ""
            facts.append(f"{answer.kind}{ttl}: {names}, {len(replies)} answers{alike}")
        return Section("Name and DNS", " ".join(map(str, self._servers)), facts, findings)

    # Pods

    def _about_pods(self, heard: Heard) -> Section:
        why = self._why_not_connect(heard)
        facts = [] if why else self._connect(heard)
        checks: Iterable[CheckFunction] = CHECKS_OF_PODS
        if why:
            self.report.not_checked.append(NotChecked(OF_CONNECTIONS, why))
            checks = _without(checks, OF_CONNECTIONS)
        if heard.own is None:
            self.report.not_checked.append(NotChecked(OF_THIS_POD, "asked from outside of a pod"))
            checks = _without(checks, OF_THIS_POD)
        return Section("Pods", "", facts, self.report.run(checks, self.world))

    def _why_not_connect(self, heard: Heard) -> str:
        if not self.connects:
            return "--no-connect"
        if self.name.protocol != "tcp":
            return f"a port over {self.name.protocol.upper()}: there is nothing to connect to"
        if not heard.peers or heard.answer.kind == "cluster-ip":
            return "there are no pods to connect to"
        if heard.lacks_port:
            return "the Service has no such port"
        if self.name.port is None and not heard.srv_ports:
            return "no port is known: the Service has none, and neither has the name"
        return ""

    def _connect(self, heard: Heard) -> list[str]:
        """Connect to each pod; the facts about it."""
        service, objects = self.world.service, self.world.objects
        selected = objects.selected(service) if service else []
        others = {*heard.srv_ports, *(number for w in selected for number in w.declared("TCP"))}
        places = [(peer.address, peer.port) for peer in heard.peers]
        heard.connects = connect(places, others, self._left())
        for place, found in heard.connects.items():
            if found.startswith("failed once"):
                self.report.not_checked.append(NotChecked(("PD201", "PD202"), f"{place} {found}"))
        facts = []
        accepting = sum(heard.connects.get(peer.hostport) == "accepts" for peer in heard.peers)
        if accepting:
            of = f" of {len(heard.peers)}" if accepting < len(heard.peers) else ""
            facts.append(f"{accepting}{of} pods accept at {heard.peers[0].port}")
        if len(heard.peers) > MAX_PODS:
            facts.append(f"{MAX_PODS} of {len(heard.peers)} pods were tried")
        return facts

    # Objects

    def _about_objects(self) -> Section:
        before = len(self.report.checked)
        world = self.world
        findings = of_manifests(self.report, world)
        facts = []
        if world.service is not None:
            names = [f"Service {world.service.name}"]
            names += [f"{w.kind} {w.name}" for w in world.objects.selected(world.service)[:3]]
            names += [f"{len(world.ready)} ready"] if world.ready is not None else []
            facts.append(", ".join(names))
        read = len(self.report.checked) - before
        aside = f"read from the API, {read} checks" if world.objects.all else "not read"
        return Section("Service and workload", aside, facts, findings)


def _without(checks: Iterable[CheckFunction], codes: Collection[str]) -> list[CheckFunction]:
    return [check for check in checks if code_of(check) not in codes]
