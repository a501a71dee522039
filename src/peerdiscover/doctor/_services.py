"""Checks of Services: whether they are headless, and what they select. Pure: one function a code.

Invariants:

* "Not in these files" proves nothing if something else could make the missing thing: that is not checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ._codes import Finding, NotChecked
from ._object import Object, strings
from ._objects import Objects
from ._world import Result, World, is_not_serving, is_ready

HEADLESS = "service.kubernetes.io/headless"
TOLERATE = "service.alpha.kubernetes.io/tolerate-unready-endpoints"


def pd105(world: World) -> Iterator[Result]:
    if seen := _is_virtual(world):
        change = {"spec": {"clusterIP": "None"}}
        yield Finding("PD105", "error", world.about, seen, change, world.service)
        return
    for w in world.workloads:
        name = w.at("spec.serviceName")
        governing = world.objects.get("Service", w.namespace, str(name)) if w.kind == "StatefulSet" else None
        if governing is None or governing.is_headless or governing.is_external:
            continue
        if not world.objects.may_select(governing, w):
            continue  # that is PD401
        seen = f"{w.name} names {governing.name}, which is not headless"
        change, also = {"spec": {"clusterIP": "None"}}, (governing,)
        headless = world.objects.behind(w)
        if alone := world.alone(w):
            seen += f": behind {alone[0].name} its pods have no names"
            change = {"spec": {"serviceName": alone[0].name}}
            yield Finding("PD105", "warning", w, seen, change, w, also)
        elif headless:
            seen += f": only {headless[0].name}, which others share, is headless"
            yield Finding("PD105", "note", w, seen, change, governing, also)
        elif w.replicas > 1:
            seen += f": its {w.replicas} pods are behind one virtual address, "
            seen += "and no headless Service selects them"
            yield Finding("PD105", "warning", w, seen, change, governing, also)


def _is_virtual(world: World) -> str:
    """What shows that the Service that was asked for is not headless; "" if nothing does."""
    heard, service, name = world.heard, world.service, world.name
    if name is None or (service is not None and (service.is_headless or service.is_external)):
        return ""
    if heard.answer.kind == "cluster-ip":
        address = ", ".join(peer.address for peer in heard.peers[:2])
        return f"{heard.absolute} is one virtual address, behind which kube-proxy picks: {address}"
    slices = world.objects.slices(world.namespace, name.service)
    if service is not None or (slices and not any(HEADLESS in one.labels for one in slices)):
        return "it has a virtual address, behind which kube-proxy picks: clusterIP is not None"
    return ""


def pd205(world: World) -> Iterator[Result]:
    for service in world.services:
        sets = world.objects.governed(service.namespace, service.name)
        if len(sets) > 1:
            seen = f"{len(sets)} StatefulSets name it: ordinal 0 is {sets[0].name}-0 and {sets[1].name}-0"
            change = "use hostnames in place of ordinals, or a Service for each StatefulSet"
            yield Finding(
                "PD205", "warning" if world.name else "note", service, seen, change, also=tuple(sets)
            )


def pd301(world: World) -> Iterator[Result]:
    objects = world.objects
    for service in world.services:
        selector, there = service.selector, objects.workloads(service.namespace)
        where = service.namespace, service.name
        sets = objects.governed(*where)
        if not selector:
            # Of an Endpoints that is kept by hand Kubernetes makes an EndpointSlice.
            is_kept = objects.slices(*where) or objects.get("Endpoints", *where)
            if not is_kept and objects.is_live and not (sets or objects.is_whole("EndpointSlice")):
                yield NotChecked(("PD301",), "what was exported has no EndpointSlices", service)
            elif not is_kept and "EndpointSlice" not in objects.unread:
                seen = "it has no selector, and there is no EndpointSlice of that name"
                change = (
                    _selecting(service, sets[0])
                    if sets
                    else "a selector with the labels of the pods, or EndpointSlices that are kept by hand"
                )
                yield Finding("PD301", "warning", service, seen, change, service)
            continue
        pods = objects.of_kind("Pod", service.namespace)
        if objects.selected_with_jobs(service) or any(pod.matches(selector) for pod in pods):
            continue
        if not objects.is_whole("Pod") and (why := _why_unknown(objects, service, sets)):
            yield NotChecked(("PD301",), why, service)
            continue
        unknown = sorted(selector.keys() - objects.label_keys(service.namespace))
        known = {key: value for key, value in selector.items() if key not in unknown}
        at_run_time = any(w.matches(known) for w in there)
        seen, change = f"{_pairs(selector)} selects nothing", "the labels of the pods"
        if nearest := _nearest(service, sets, there):
            labels = _selector_of(nearest)
            has = {key: value for key, value in labels.items() if key in selector} or labels
            seen += f"; {nearest.name} has {_pairs(has) or 'no labels'}"
            change = _selecting(service, nearest)
        if at_run_time:
            seen += f" (is {', '.join(unknown)} set at run time?)"
        yield Finding("PD301", "warning" if at_run_time else "error", service, seen, change, service)


def _why_unknown(objects: Objects, service: Object, sets: list[Object]) -> str:
    """Why a Service may select pods that are not in the files; "": it would not."""
    if not objects.workloads(service.namespace):
        return "no workload is there"
    if objects.has_custom(service.namespace):
        return "a custom resource may make its pods"
    return "what was exported has no pods" if objects.is_live and not sets else ""


def _nearest(service: Object, sets: list[Object], workloads: list[Object]) -> Object | None:
    """The workload that names the Service, else whose labels or name match it best; None: none does."""

    def likeness(w: Object) -> tuple[bool, int, bool]:
        alike = sum(w.labels.get(key) == value for key, value in service.selector.items())
        return w in sets, alike, service.name.startswith(w.name)

    fitting = [w for w in workloads if any(likeness(w))]
    return max(fitting, key=lambda w: (*likeness(w), not w.is_job), default=None)


def _selector_of(w: Object) -> dict[str, str]:
    return strings(w.data, "spec.selector.matchLabels") or w.labels


def _selecting(service: Object, w: Object) -> dict[str, Any]:
    """The patch by which a Service selects these pods."""
    labels = _selector_of(w)
    others = [key for key in service.selector if key not in labels]
    return {"spec": {"selector": {**dict.fromkeys(others), **labels}}}


def _pairs(labels: dict[str, str]) -> str:
    return ", ".join(f"{key}: {value}" for key, value in labels.items())


def pd306(world: World) -> Iterator[Result]:
    for service in world.services:
        is_set = strings(service.data, "metadata.annotations").get(TOLERATE, "").lower() == "true"
        if is_set and not service.lists_unready:
            seen = f"{TOLERATE} has had no effect since Kubernetes 1.24"
            change = {
                "metadata": {"annotations": {TOLERATE: None}},
                "spec": {"publishNotReadyAddresses": True},
            }
            yield Finding("PD306", "error", service, seen, change, service)


def pd307(world: World) -> Iterator[Result]:
    listed = [endpoint for endpoint in world.endpoints if is_ready(endpoint)]
    unready = [endpoint for endpoint in listed if is_not_serving(endpoint)]
    if unready:
        seen = f"{len(unready)} of {len(listed)} listed pods are not ready (publishNotReadyAddresses)"
        change = "a second headless Service without publishNotReadyAddresses, for requests"
        yield Finding("PD307", "warning", world.about, seen, change)


def pd308(world: World) -> Iterator[Result]:
    for service in world.services:
        jobs = [w for w in world.objects.selected_with_jobs(service) if w.is_job]
        others = [set(w.labels.items()) for w in world.objects.selected(service)]
        for job in jobs if others else []:  # a Service for a Job's pods alone is meant for them
            more = sorted(set.intersection(*others) - set(job.labels.items()) - set(service.selector.items()))
            change, target = {"spec": {"selector": dict(more[:1])}}, service
            if not more:  # they differ in no label: the Job's pods are to be called something else
                labels = {[*service.selector][-1]: job.name}
                change, target = job.in_template({"metadata": {"labels": labels}}), job
            seen = f"it selects the pods of {job.kind} {job.name}, too"
            yield Finding("PD308", "warning", service, seen, change, target, (job,))


CHECKS_OF_SERVICES = (pd105, pd205, pd301, pd306, pd307, pd308)
