"""Checks of what was heard from DNS. Pure: one function a code.

Invariants:

* SERVFAIL and REFUSED are answers, and silence is none. What was not heard proves nothing.
* A name that is not found has a cause; if the cause has a code of its own, that one is found, and not PD104.
"""

from __future__ import annotations

from collections.abc import Iterator

from peerdiscover.names import ServiceName
from peerdiscover.sources.dns._types import Reply, ReplyStatus

from ._codes import Finding, NotChecked
from ._objects import Object, Workload, at, items
from ._services import pd301
from ._workloads import pd403
from ._world import Heard, Result, World, finding_of, ready_addresses

__all__ = ["CHECKS_OF_DNS", "agree"]

UDP_BYTES = 1232
"""That fit into a datagram as we ask."""


def pd101(world: World) -> Iterator[Result]:
    """Nameservers that answer neither over UDP nor over TCP."""
    servers = world.heard.servers if world.heard else []
    silent = [server for server in servers if server.is_silent]
    if silent:
        which = " and ".join(server.address for server in silent)
        seen = f"{which} answer{'s' * (len(silent) == 1)} neither over UDP (3 questions) nor over TCP"
        change = "an egress rule with UDP and TCP 53; or, if the address is wrong, the nameserver's own"
        yield finding_of(world, "PD101", seen, change, warning=len(silent) < len(servers))


def pd102(world: World) -> Iterator[Result]:
    """This pod's resolv.conf is not the cluster's."""
    heard = world.heard
    if heard is None or heard.own is None or heard.is_given or heard.peers:
        return  # a server that knows the Service is no node's
    if not any(entry.startswith("svc.") for entry in heard.own.search):
        seen = "resolv.conf has no search entry svc.…: this pod asks the node's DNS, which knows no Services"
        yield finding_of(world, "PD102", seen, "dnsPolicy: ClusterFirstWithHostNet in the pod's spec")


def pd103(world: World) -> Iterator[Result]:
    """The zone that is asked is not the cluster's."""
    heard = world.heard
    if heard is None or not any(heard.zones.values()):
        if heard is not None:
            why = f"no server says which zone is the cluster's (TXT dns-version.{heard.zone})"
            yield NotChecked(("PD103",), why)
        return
    if not heard.zones.get(heard.zone, True):
        (there, *_) = (zone for zone, exists in heard.zones.items() if exists)
        change = f"PEERDISCOVER_CLUSTER_DOMAIN={there}, or no setting at all"
        yield finding_of(world, "PD103", f"this cluster is {there}, not {heard.zone}", change)


def pd104(world: World) -> Iterator[Result]:
    """The name has no pods, and nothing else says why."""
    heard, name = world.heard, world.name
    if heard is None or name is None or not heard.answer.is_empty:
        return
    negative = [r for server in heard.servers for r in (*server.udp, *server.tcp) if r and r.is_negative]
    if len(negative) < 2:
        yield NotChecked(("PD104",), f"{heard.absolute}: only one answer says that it has no pods")
        return
    causes = (*pd102(world), *pd103(world), *pd106(world), *pd301(world), *pd403(world))
    if not any(isinstance(one, Finding) for one in causes):
        seen, change = _why_empty(world, name, heard)
        yield finding_of(world, "PD104", seen, change)


def _why_empty(world: World, name: ServiceName, heard: Heard) -> tuple[str, str]:
    """What is known of a Service without pods, and what to do."""
    service, objects, unread = world.service, world.objects, world.objects.unread
    if service is not None and not unread.keys() & {"Pod"}:
        pods = [Workload.of(one) for one in objects.of_kind("Pod", world.namespace)]
        selected = [pod.object for pod in pods if pod.matches(service.selector)]
        if not selected:
            return (
                "no pod was made yet",
                f"kubectl -n {world.namespace} describe the workload: why it has no pods",
            )
        return _none_ready(
            selected
        ), "what keeps the pods from being ready; or publishNotReadyAddresses: true"
    if service is None and "Service" not in unread:
        there = [one.namespace for one in objects.of_kind("Service") if one.name == name.service]
        where = f"; one of that name is in {', '.join(there)}" if there else ""
        known = ", ".join(one.name for one in objects.of_kind("Service", world.namespace)[:5]) or "none"
        return (
            f"there is no Service {name.service} in {world.namespace}{where}; Services there: {known}",
            "the Service's name and namespace",
        )
    if endpoints := [
        e for one in objects.slices(world.namespace, name.service) for e in items(one.data, "endpoints")
    ]:
        return f"{len(endpoints)} pods are listed, and none is ready", "what keeps the pods from being ready"
    return (
        f"{heard.absolute} is not found: DNS says the same for 'no such Service' and 'no pod is ready'",
        f"kubectl -n {world.namespace} get service,pods shows which of them it is",
    )


def _none_ready(pods: list[Object]) -> str:
    shown = []
    for pod in pods[:5]:
        ready = next((c for c in items(pod.data, "status.conditions") if c.get("type") == "Ready"), {})
        shown.append(f"{pod.name} {ready.get('reason') or at(pod.data, 'status.phase') or 'unknown'}")
    return f"{len(pods)} pods, none ready: {', '.join(shown)}"


def pd106(world: World) -> Iterator[Result]:
    """DNS has no such port."""
    heard, name = world.heard, world.name
    if heard is None or name is None or name.port is None or heard.answer.kind == "cluster-ip":
        return
    numbers = sorted({srv.port for server in heard.servers for r in server.udp if r for srv in r.services})
    if isinstance(name.port, str):
        replies = [server.port for server in heard.servers if server.port is not None]
        if numbers and replies and all(reply.is_negative for reply in replies):
            known = world.service.ports if world.service else []
            has = ", ".join(port.name or str(port.number) for port in known) or ", ".join(map(str, numbers))
            seen = f"no port is called {name.port}; the Service has {has}"
            yield finding_of(world, "PD106", seen, f"the name: {world.name_with(has.partition(',')[0])}")
    elif numbers and name.port not in numbers:
        has = ", ".join(map(str, numbers))
        seen = f"no SRV record has the port {name.port}; they have {has}"
        yield finding_of(world, "PD106", seen, f"the name: {world.name_with(numbers[0])}", warning=True)


def pd107(world: World) -> Iterator[Result]:
    """A server answers over UDP alone."""
    for server in world.heard.servers if world.heard else ():
        answered = [reply for reply in server.udp if reply is not None]
        if not answered or any(server.tcp) or len(server.tcp) < 2:
            continue
        count = max(len(reply.services) for reply in answered)
        until = (
            f": it works up to about {UDP_BYTES * count // server.size} pods; there are {count}"
            if count
            else ""
        )
        is_cut = any(reply.truncated for reply in answered)
        seen = f"{server.address} answers over UDP, and not over TCP{until}"
        change = "an egress rule with TCP 53 beside UDP 53"
        yield finding_of(world, "PD107", seen, change, warning=not is_cut)


def pd108(world: World) -> Iterator[Result]:
    """The answer is cut even over TCP, and it is DNS that is asked."""
    if world.name is None or world.name.scheme == "k8s":
        return
    for server in world.heard.servers if world.heard else ():
        if any(reply is not None and reply.truncated for reply in server.tcp):
            seen = f"{server.address} cuts the answer even over TCP: a random part of the set each time"
            name = f"k8s:{str(world.name).removeprefix('auto:')}"
            yield finding_of(world, "PD108", seen, f"the name: {name}", warning=True)
            return


def pd109(world: World) -> Iterator[Result]:
    """Answers are not one set, twice."""
    heard = world.heard
    if heard is None or heard.answer.kind != "headless":
        return
    ready = ready_addresses(world)
    first = [reply for server in heard.servers for reply in server.udp]
    if agree(first, ready):
        return
    second = [reply for server in heard.servers for reply in server.again]
    if not any(second):
        yield NotChecked(("PD109",), "answers differ, and there was no time to ask again after the TTL")
    elif not agree(second, ready):
        if heard.slices_changed:
            yield NotChecked(("PD109",), "the set is changing: ask again")
            return
        sets = [_targets(reply) for reply in second if reply and reply.status is ReplyStatus.ANSWER]
        everything = set().union(*sets)
        lacking = sum(one != everything for one in sets)
        missing = sorted(set().union(*(everything - one for one in sets)))
        names = ", ".join(target.partition(".")[0] for target in missing[:3])
        seen = f"{lacking} of {len(sets)} answers lack {names}" if missing else (
            f"{len(sets)} answers lack pods that are ready in the EndpointSlices"
        )  # fmt: skip
        change = "the nameservers: one of them may have lost its watch of the API server"
        yield finding_of(world, "PD109", seen, change, warning=True)


def agree(replies: list[Reply | None], ready: frozenset[str] | None) -> bool:
    """Whether whole answers are one set that lacks no ready address."""
    whole = [r for r in replies if r and r.status is ReplyStatus.ANSWER and r.services and not r.truncated]
    if len({_targets(reply) for reply in whole}) > 1:
        return False
    glue = [{address for found in reply.glue.values() for address in found} for reply in whole]
    return ready is None or not any(found and not ready <= found for found in glue)


def _targets(reply: Reply) -> frozenset[str]:
    return frozenset(srv.target for srv in reply.services)


def pd501(world: World) -> Iterator[Result]:
    """The name is for the API, and the API refuses."""
    heard, name = world.heard, world.name
    if heard is not None and name is not None and name.scheme in ("k8s", "auto") and heard.refused:
        what, _, role = heard.refused.partition("\n")
        change = role.partition(":\n")[2] or "a pod with a ServiceAccount whose token is mounted"
        yield finding_of(world, "PD501", what, change, warning=name.scheme == "auto")


CHECKS_OF_DNS = (pd101, pd102, pd103, pd104, pd106, pd107, pd108, pd109, pd501)
