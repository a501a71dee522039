"""Checks of workloads: their DNS, names and probes, and how they start. Pure: one function a code.

Invariants:

* Nothing is concluded from images, labels or arguments, but two: a word that is a name of ours, and our own
  `peerdiscover wait` (see `_words`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ._codes import Finding, NotChecked
from ._object import Object, Port, at, items
from ._words import names_in, waits
from ._world import Result, World


def pd102(world: World) -> Iterator[Result]:
    for w in world.workloads:
        is_host = w.pod.get("hostNetwork") is True
        wrong = _wrong_dns(str(w.pod.get("dnsPolicy") or "ClusterFirst"), is_host, w)
        is_listed = any(service in world.services for service in world.objects.behind(w)) if wrong else False
        if wrong and (is_listed or any((*names_in(w), *waits(w)))):
            fix = {"dnsPolicy": "ClusterFirstWithHostNet" if is_host else "ClusterFirst"}
            change = w.in_template({"spec": fix})
            yield Finding("PD102", "warning", w, f"{wrong}, which knows no Services", change, w)


def _wrong_dns(policy: str, is_host: bool, w: Object) -> str:
    searches = at(w.pod, "dnsConfig.searches")
    if policy == "None":
        has_search = isinstance(searches, list) and any(".svc." in f".{one}." for one in searches)
        return "" if has_search else "dnsPolicy None has no search entry svc.…"
    if policy == "Default":
        return "dnsPolicy Default is the node's DNS"
    if is_host and policy != "ClusterFirstWithHostNet":
        return "hostNetwork without dnsPolicy ClusterFirstWithHostNet is the node's DNS"
    return ""


def pd401(world: World) -> Iterator[Result]:
    is_whole = world.objects.is_whole("Service")
    for w in world.workloads:
        if w.kind != "StatefulSet":
            continue
        named = w.at("spec.serviceName")
        governing = world.objects.get("Service", w.namespace, str(named)) if named else None
        beside, alone = world.objects.behind(w), world.alone(w)
        if not named and not alone:
            continue
        if governing is not None and (not governing.selector or world.objects.may_select(governing, w)):
            continue
        if governing is not None:
            seen = f"it names {named}, which does not select its pods"
        elif named:
            others = [one.namespace for one in world.objects.of_kind("Service") if one.name == named]
            where = f"in the namespace {others[0] or '(none is written)'}" if others else "not in these files"
            seen = f"it names {named}, which is {'not there' if is_whole else where}"
        else:
            seen = "it names no Service"
        if governing is None and not (alone or is_whole) and world.objects.has_custom(w.namespace):
            yield NotChecked(("PD401",), f"a custom resource may make the Service {named}", w)
            continue
        best = next(iter(alone or beside), None)
        seen += f": {f'behind {best.name}' if best else 'in DNS'} its pods have no names"
        is_sure = beside if governing is not None or is_whole else alone
        change: dict[str, Any] | str = f"a headless Service {named or w.name}"
        if best:
            change = {"spec": {"serviceName": best.name}}
        yield Finding("PD401", "error" if is_sure else "warning", w, seen, change, w, tuple(beside))


def _listening(w: Object, port: Port) -> int | None:
    """The number on which the pods most likely listen: a probe of another one is never ready (PD304)."""
    number, declared = w.port(port), w.declared(port.protocol)
    if not declared or number in declared:
        return number
    return next(iter(declared)) if len(declared) == 1 else None


def pd402(world: World) -> Iterator[Result]:
    listed: dict[Object, Object] = {}
    for service in world.services:
        if not service.lists_unready:
            for w in world.objects.selected(service):
                listed.setdefault(w, service)
    for w, service in listed.items():
        if w.pod.get("readinessGates") or any(c.get("readinessProbe") for c in w.containers):
            continue
        port = next((n for p in service.ports if p.protocol == "TCP" and (n := _listening(w, p))), "PORT")
        containers = items(w.pod, "containers") or [{"name": "main"}]
        has = [c for c in containers if any(one.get("containerPort") == port for one in items(c, "ports"))]
        probe = {"name": (has or containers)[0].get("name"), "readinessProbe": {"tcpSocket": {"port": port}}}
        change = w.in_template({"spec": {"containers": [probe]}})
        seen = f"no container of {w.name} has a readiness probe"
        yield Finding("PD402", "warning", w, seen, change, w, (service,))


def pd403(world: World) -> Iterator[Result]:
    for w in world.workloads:
        for name, least in waits(w):
            service = world.objects.get("Service", name.namespace or w.namespace, name.service)
            if service is None or not service.is_headless or world.objects.selected(service) != [w]:
                continue
            is_ordered = w.kind == "StatefulSet" and w.at("spec.podManagementPolicy") != "Parallel"
            change: dict[str, Any]
            if not service.lists_unready:
                why = f"{service.name} lists only ready pods, and one that waits is not"
                change, target = {"spec": {"publishNotReadyAddresses": True}}, service
            elif least > 1 and is_ordered:
                why = f"the second pod is made when the first is ready; {least} are expected"
                change, target = {"spec": {"podManagementPolicy": "Parallel"}}, w
            else:
                continue
            seen = f"it runs `peerdiscover wait {name}`: {why}. It cannot start from nothing"
            yield Finding("PD403", "error", w, seen, change, target, (service,))


def pd404(world: World) -> Iterator[Result]:
    heard = world.heard
    if heard.answer.ttl is None or world.name is None:
        return
    if world.name.scheme == "k8s" or (world.name.scheme == "auto" and not heard.refused):
        return  # no DNS is asked
    behind = 1.2 * heard.answer.ttl + 1
    for w in world.workloads:
        is_rolling = w.at("spec.updateStrategy.type") in (None, "RollingUpdate")
        if w.kind != "StatefulSet" or w.replicas < 2 or not is_rolling:
            continue
        seconds = w.at("spec.minReadySeconds") or 0
        if isinstance(seconds, int) and seconds < behind:
            seen = f"minReadySeconds is {seconds}, and DNS is up to {behind:.0f} s behind"
            yield Finding("PD404", "note", w, seen, {"spec": {"minReadySeconds": int(behind) + 1}}, w)
        elif w.at("spec.podManagementPolicy") == "Parallel":
            seen = "it is Parallel, with which older releases of Kubernetes ignore minReadySeconds"
            change = "podManagementPolicy: OrderedReady, if this cluster does so (kubernetes #112066)"
            yield Finding("PD404", "note", w, seen, change)


CHECKS_OF_WORKLOADS = (pd102, pd401, pd402, pd403, pd404)
