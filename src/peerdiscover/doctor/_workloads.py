"""Checks of workloads: their DNS, names and probes, and how they start. Pure: one function a code.

Invariants:

* Nothing is concluded from images, labels or arguments, but two: a word that is a name of ours, and our own
  `peerdiscover wait` (see `_words`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ._codes import Finding
from ._objects import Object, Workload, at, items
from ._words import names_in, waits
from ._world import Result, World

__all__ = ["CHECKS_OF_WORKLOADS", "in_pod", "in_template", "pd403"]


def pd102(world: World) -> Iterator[Result]:
    """The pods ask the node's DNS."""
    for w in world.workloads:
        policy = str(w.pod.get("dnsPolicy") or "ClusterFirst")
        is_host = w.pod.get("hostNetwork") is True
        searches = at(w.pod, "dnsConfig.searches")
        has_search = isinstance(searches, list) and any(".svc." in f".{one}." for one in searches)
        if policy == "None":
            wrong = "dnsPolicy None has no search entry svc.…" if not has_search else ""
        elif policy == "Default":
            wrong = "dnsPolicy Default is the node's DNS"
        else:
            wrong = (
                "hostNetwork without dnsPolicy ClusterFirstWithHostNet is the node's DNS"
                if is_host and policy != "ClusterFirstWithHostNet"
                else ""
            )
        if wrong and (_is_listed(world, w) or any(names_in(w))):
            fix = "ClusterFirstWithHostNet" if is_host else "ClusterFirst"
            yield Finding(
                code="PD102",
                level="warning",
                about=w.object,
                seen=f"{wrong}, which knows no Services",
                change=in_pod(w, {"dnsPolicy": fix}),
                target=w.object,
            )


def _is_listed(world: World, w: Workload) -> bool:
    return any(s.namespace == w.object.namespace and w.matches(s.selector) for s in world.services)


def in_pod(w: Workload, spec: Mapping[str, Any]) -> dict[str, Any]:
    """The patch of a workload that changes the spec of its pods."""
    return in_template(w, {"spec": dict(spec)})


def in_template(w: Workload, template: Mapping[str, Any]) -> dict[str, Any]:
    """The patch of a workload that changes the template of its pods."""
    patch = dict(template)
    path = {"CronJob": ["spec", "jobTemplate", "spec", "template"], "Pod": []}
    for key in reversed(path.get(w.object.kind, ["spec", "template"])):
        patch = {key: patch}
    return patch


def pd401(world: World) -> Iterator[Result]:
    """A StatefulSet's serviceName is missing, or leads to a Service that does not select its pods."""
    for w in world.workloads:
        if w.object.kind != "StatefulSet":
            continue
        namespace = w.object.namespace
        named = at(w.object.data, "spec.serviceName")
        governing = world.objects.get("Service", namespace, str(named)) if named else None
        beside = [s for s in world.objects.headless(namespace) if w.matches(s.selector)]
        alone = [s for s in beside if len(world.objects.selected(s)) == 1]
        if not named and not alone:
            continue
        if governing is not None and (not governing.selector or world.objects.may_select(governing, w)):
            continue
        is_sure = bool(beside) if governing is not None or world.objects.is_live else bool(alone)
        what = (
            f"it names {named}, which does not select its pods" if governing is not None
            else f"it names {named}, which is not {'there' if world.objects.is_live else 'in these files'}"
            if named else "it names no Service"
        )  # fmt: skip
        best = next(iter(alone or beside), None)
        yield Finding(
            code="PD401",
            level="error" if is_sure else "warning",
            about=w.object,
            seen=f"{what}: {f'behind {best.name}' if best else 'in DNS'} its pods have no names",
            change={"spec": {"serviceName": best.name}} if best else f"a headless Service {named or w.name}",
            target=w.object if best else None,
            also=tuple(beside),
        )


def pd402(world: World) -> Iterator[Result]:
    """No readiness probe, behind a headless Service that lists ready pods."""
    listed: dict[Workload, Object] = {}
    for service in world.services:
        if not service.lists_unready:
            for w in world.objects.selected(service):
                listed.setdefault(w, service)
    for w, service in listed.items():
        if w.pod.get("readinessGates") or any(c.get("readinessProbe") for c in w.containers):
            continue
        port = next((n for p in service.ports if p.protocol == "TCP" and (n := w.port(p))), "PORT")
        containers = items(w.pod, "containers")
        name = containers[0].get("name") if containers else "main"
        probe = {"name": name, "readinessProbe": {"tcpSocket": {"port": port}}}
        yield Finding(
            code="PD402",
            level="warning",
            about=w.object,
            seen=f"no container of {w.name} has a readiness probe",
            change=in_pod(w, {"containers": [probe]}),
            target=w.object,
            also=(service,),
        )


def pd403(world: World) -> Iterator[Result]:
    """The pods run `peerdiscover wait` for a Service that lists them alone."""
    for w in world.workloads:
        for name, least in waits(w):
            service = world.objects.get("Service", name.namespace or w.object.namespace, name.service)
            if service is None or not service.is_headless:
                continue
            if [one.object for one in world.objects.selected(service)] != [w.object]:
                continue
            ordered = at(w.object.data, "spec.podManagementPolicy") != "Parallel"
            is_ordered = w.object.kind == "StatefulSet" and ordered
            patch: dict[str, Any] = {"spec": {"publishNotReadyAddresses": True}}
            if not service.lists_unready:
                seen, target = f"{service.name} lists only ready pods, and one that waits is not", service
            elif least > 1 and is_ordered:
                seen, target = (
                    f"the second pod is made when the first is ready; {least} are expected",
                    w.object,
                )
                patch = {"spec": {"podManagementPolicy": "Parallel"}}
            else:
                continue
            yield Finding(
                code="PD403",
                level="error",
                about=w.object,
                seen=f"it runs `peerdiscover wait {name}`: {seen}. It cannot start from nothing",
                change=patch,
                target=target,
                also=(service,),
            )


def pd404(world: World) -> Iterator[Result]:
    """A rolling restart replaces pods faster than DNS says so."""
    heard = world.heard
    if heard is None or heard.answer.ttl is None or world.name is None or world.name.scheme == "k8s":
        return
    behind = 1.2 * heard.answer.ttl + 1
    for w in world.workloads:
        if w.object.kind != "StatefulSet" or w.replicas < 2:
            continue
        if at(w.object.data, "spec.updateStrategy.type") not in (None, "RollingUpdate"):
            continue
        seconds = at(w.object.data, "spec.minReadySeconds") or 0
        if isinstance(seconds, int) and seconds < behind:
            yield Finding(
                code="PD404",
                level="note",
                about=w.object,
                seen=f"minReadySeconds is {seconds}, and DNS is up to {behind:.0f} s behind",
                change={"spec": {"minReadySeconds": int(behind) + 1}},
                target=w.object,
            )


CHECKS_OF_WORKLOADS = (pd102, pd401, pd402, pd403, pd404)
