"""Checks of what was heard from DNS. Pure: one function a code.

Invariants:

* SERVFAIL and REFUSED are answers, and silence is none. What was not heard proves nothing.
* A name that is not found has a cause; if the cause has a code of its own, that one is found, and not PD104.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from peerdiscover._text import counted, printable
from peerdiscover.names import ServiceName
from peerdiscover.sources.dns._types import Reply, ReplyStatus

from ._codes import Finding, NotChecked
from ._object import Object
from ._services import pd301
from ._workloads import pd403
from ._world import Result, World

UDP_BYTES = 1232
"""That fit into a datagram as we ask."""


def pd101(world: World) -> Iterator[Result]:
    servers = world.heard.servers
    silent = [server.address for server in servers if server.is_silent]
    if silent:
        verb = "answers" if len(silent) == 1 else "answer"
        seen = f"{' and '.join(silent)} {verb} neither over UDP (3 questions) nor over TCP"
        change = "an egress rule with UDP and TCP 53; or, if the address is wrong, the nameserver's own"
        is_some = len(silent) < len(servers)
        yield Finding("PD101", "warning" if is_some else "error", world.about, seen, change)


def pd102(world: World) -> Iterator[Result]:
    heard = world.heard
    if heard.own is None or heard.is_given or heard.peers:
        return  # a server that knows the Service is no node's
    if not any(entry.startswith("svc.") for entry in heard.own.search):
        seen = "resolv.conf has no search entry svc.…: this pod asks the node's DNS, which knows no Services"
        change = "dnsPolicy: ClusterFirstWithHostNet in the pod's spec"
        yield Finding("PD102", "error", world.about, seen, change)


def pd103(world: World) -> Iterator[Result]:
    heard = world.heard
    there = next((zone for zone, exists in heard.zones.items() if exists), None)
    if there is None:
        why = f"no server says which zone is the cluster's (TXT dns-version.{heard.zone})"
        yield NotChecked(("PD103",), why)
    elif not heard.zones.get(heard.zone, True):
        change = f"PEERDISCOVER_CLUSTER_DOMAIN={there}, or no setting at all"
        yield Finding("PD103", "error", world.about, f"this cluster is {there}, not {heard.zone}", change)


def pd104(world: World) -> Iterator[Result]:
    heard, name = world.heard, world.name
    if name is None or not heard.answer.is_empty:
        return
    negative = [r for server in heard.servers for r in (*server.udp, *server.tcp) if r and r.is_negative]
    if len(negative) < 2:
        yield NotChecked(("PD104",), f"{heard.absolute}: only one answer says that it has no pods")
        return
    causes = (*pd102(world), *pd103(world), *pd106(world), *pd301(world), *pd403(world))
    if not any(isinstance(one, Finding) for one in causes):
        seen, change = _why_empty(world, name)
        yield Finding("PD104", "error", world.about, seen, change)


def _why_empty(world: World, name: ServiceName) -> tuple[str, str]:
    """What is known of a Service without pods, and what to do."""
    service, objects, kubectl = world.service, world.objects, f"kubectl -n {world.namespace}"
    if service is not None and "Pod" not in objects.unread:
        pods = [pod for pod in objects.of_kind("Pod", world.namespace) if pod.matches(service.selector)]
        if not pods:
            return "no pod was made yet", f"{kubectl} describe the workload: why it has no pods"
        change = "what keeps the pods from being ready; or publishNotReadyAddresses: true"
        return f"{counted(len(pods), 'pod')}, none ready: {', '.join(map(_state, pods[:5]))}", change
    hint = f"; {world.heard.answer.hint}" if world.heard.answer.hint else ""
    if service is None and "Service" not in objects.unread:
        known = ", ".join(one.name for one in objects.of_kind("Service", world.namespace)[:5]) or "none"
        seen = f"there is no Service {name.service} in {world.namespace}; Services there: {known}{hint}"
        return seen, "the Service's name and namespace"
    if world.endpoints:
        seen = f"{counted(len(world.endpoints), 'pod')} listed, none ready"
        return seen, "what keeps the pods from being ready"
    seen = (
        f"{world.heard.absolute} is not found: DNS says the same for 'no such Service' and 'no pod is ready'"
    )
    return seen + hint, f"{kubectl} get service,pods shows which of them it is"


def _state(pod: Object) -> str:
    ready = pod.ready_condition
    message = f" ({printable(str(ready['message']), 100)})" if ready.get("message") else ""
    return f"{pod.name} {ready.get('reason') or pod.at('status.phase') or 'unknown'}{message}"


def pd106(world: World) -> Iterator[Result]:
    heard, name, numbers = world.heard, world.name, world.heard.srv_ports
    if name is None or name.port is None or not numbers or heard.answer.kind == "cluster-ip":
        return
    has = ", ".join(map(str, numbers))
    if isinstance(name.port, str):
        replies = [server.port for server in heard.servers if server.port is not None]
        if replies and all(reply.is_negative for reply in replies):
            known = world.service.ports if world.service else []
            has = ", ".join(port.name or str(port.number) for port in known) or has
            seen = f"no port is called {name.port}; the Service has {has}"
            change = f"the name: {world.name_with(has.partition(',')[0])}"
            yield Finding("PD106", "error", world.about, seen, change)
    elif name.port not in numbers:
        seen = f"no SRV record has the port {name.port}; they have {has}"
        yield Finding("PD106", "warning", world.about, seen, f"the name: {world.name_with(numbers[0])}")


def pd107(world: World) -> Iterator[Result]:
    for server in world.heard.servers:
        answered = [reply for reply in server.udp if reply is not None]
        if not answered or any(server.tcp) or len(server.tcp) < 2:
            continue
        seen = f"{server.address} answers over UDP, and not over TCP"
        if count := max(len(reply.services) for reply in answered):
            seen += f": it works up to about {UDP_BYTES * count // server.size} pods; there are {count}"
        is_cut = any(reply.truncated for reply in answered)
        change = "an egress rule with TCP 53 beside UDP 53"
        yield Finding("PD107", "error" if is_cut else "warning", world.about, seen, change)


def pd108(world: World) -> Iterator[Result]:
    if world.name is None or world.name.scheme == "k8s":
        return
    for server in world.heard.servers:
        if any(reply is not None and reply.truncated for reply in server.tcp):
            seen = f"{server.address} cuts the answer even over TCP: a random part of the set each time"
            change = f"the name: k8s:{str(world.name).removeprefix('auto:')}"
            yield Finding("PD108", "warning", world.about, seen, change)
            return


def pd109(world: World) -> Iterator[Result]:
    heard = world.heard
    first = [reply for server in heard.servers for reply in server.udp]
    if heard.answer.kind != "headless" or agree(first, world.ready):
        return
    second = [reply for server in heard.servers for reply in server.again]
    if not any(second):
        yield NotChecked(("PD109",), "answers differ, and there was no time to ask again after the TTL")
    elif agree(second, world.ready):
        return
    elif heard.slices_changed:
        yield NotChecked(("PD109",), "the set is changing: ask again")
    else:
        sets = [_targets(reply) for reply in second if reply and reply.status is ReplyStatus.ANSWER]
        everything = frozenset().union(*sets)
        lacking = [one for one in sets if one != everything]
        missing = sorted(set().union(*(everything - one for one in lacking)))
        names = ", ".join(target.partition(".")[0] for target in missing[:3])
        seen = f"{len(sets)} answers lack pods that are ready in the EndpointSlices"
        if missing:
            seen = f"{len(lacking)} of {len(sets)} answers lack {names}"
        change = "the nameservers: one of them may have lost its watch of the API server"
        yield Finding("PD109", "warning", world.about, seen, change)


def agree(replies: Sequence[Reply | None], ready: frozenset[str] | None) -> bool:
    """Whether whole answers are one set that lacks no ready address."""
    whole = [r for r in replies if r and r.status is ReplyStatus.ANSWER and r.services and not r.truncated]
    if len({_targets(reply) for reply in whole}) > 1:
        return False
    glue = [{address for found in reply.glue.values() for address in found} for reply in whole]
    return ready is None or not any(found and not ready <= found for found in glue)


def _targets(reply: Reply) -> frozenset[str]:
    return frozenset(srv.target for srv in reply.services)


def pd501(world: World) -> Iterator[Result]:
    refused, scheme = world.heard.refused, world.name.scheme if world.name else ""
    if refused and scheme in ("k8s", "auto"):
        seen, _, role = refused.partition("\n")
        change = role.partition(":\n")[2] or "a pod with a ServiceAccount whose token is mounted"
        yield Finding("PD501", "warning" if scheme == "auto" else "error", world.about, seen, change)


CHECKS_OF_DNS = (pd101, pd102, pd103, pd104, pd106, pd107, pd108, pd109, pd501)
