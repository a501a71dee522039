"""Checks of Services: whether they are headless, and what they select. Pure: one function a code.

Invariants:

* "Not in these files" proves nothing if something else could make the missing thing: that is not checked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ._codes import Finding, NotChecked
from ._objects import Object, Workload, at, items, labels_of
from ._workloads import in_template
from ._world import Result, World, serves

__all__ = ["CHECKS_OF_SERVICES"]

HEADLESS = "service.kubernetes.io/headless"
TOLERATE = "service.alpha.kubernetes.io/tolerate-unready-endpoints"


def pd105(world: World) -> Iterator[Result]:
    """A StatefulSet's governing Service is not headless; or the one that was asked for is not."""
    if seen := _is_virtual(world):
        yield Finding(
            code="PD105",
            level="error",
            about=world.service or str(world.name),
            seen=seen,
            change={"spec": {"clusterIP": "None"}},
            target=world.service,
        )
        return
    for w in world.workloads:
        governing = _governing(world, w)
        if governing is None or governing.is_headless or governing.is_external:
            continue
        if not world.objects.may_select(governing, w):
            continue  # that is PD401
        headless = [s for s in world.objects.headless(w.object.namespace) if w.matches(s.selector)]
        alone = [s for s in headless if len(world.objects.selected(s)) == 1]
        if not headless and w.replicas < 2:
            continue
        beside = (
            f"behind {alone[0].name} its pods have no names" if alone
            else f"its {w.replicas} pods are behind one virtual address, and no headless Service selects them"
            if not headless
            else f"only {headless[0].name}, which others share, is headless"
        )  # fmt: skip
        patch: dict[str, Any] = (
            {"spec": {"serviceName": alone[0].name}} if alone else {"spec": {"clusterIP": "None"}}
        )
        yield Finding(
            code="PD105",
            level="warning" if alone or not headless else "note",
            about=w.object,
            seen=f"{w.name} names {governing.name}, which is not headless: {beside}",
            change=patch,
            target=w.object if alone else governing,
            also=(governing,),
        )


def _is_virtual(world: World) -> str:
    """What shows that the Service that was asked for is not headless; "" if nothing does."""
    heard, service, name = world.heard, world.service, world.name
    if name is None or (service is not None and (service.is_headless or service.is_external)):
        return ""
    if heard is not None and heard.answer.kind == "cluster-ip":
        address = ", ".join(peer.address for peer in heard.peers[:2])
        return f"{heard.absolute} is one virtual address, behind which kube-proxy picks: {address}"
    slices = world.objects.slices(world.namespace, name.service)
    if service is not None or (slices and not any(HEADLESS in labels_of(one) for one in slices)):
        return "it has a virtual address, behind which kube-proxy picks: clusterIP is not None"
    return ""


def _governing(world: World, w: Workload) -> Object | None:
    name = at(w.object.data, "spec.serviceName")
    if w.object.kind != "StatefulSet" or not isinstance(name, str):
        return None
    return world.objects.get("Service", w.object.namespace, name)


def pd205(world: World) -> Iterator[Result]:
    """Two StatefulSets share a governing Service: each has a pod of every ordinal."""
    for service in world.services:
        sets = [
            one
            for one in world.objects.of_kind("StatefulSet", service.namespace)
            if serves(one, service.name)
        ]
        if len(sets) > 1:
            first, second = sets[0].name, sets[1].name
            yield Finding(
                code="PD205",
                level="note" if world.name is None else "warning",
                about=service,
                seen=f"{len(sets)} StatefulSets name it: ordinal 0 is {first}-0 and {second}-0",
                change="use hostnames in place of ordinals, or a Service for each StatefulSet",
                also=tuple(sets),
            )


def pd301(world: World) -> Iterator[Result]:
    """The selector selects nothing."""
    objects = world.objects
    for service in world.services:
        selector = service.selector
        there = objects.workloads(service.namespace)
        if not selector:
            if not objects.slices(service.namespace, service.name) and "EndpointSlice" not in objects.unread:
                named = next((w for w in there if serves(w.object, service.name)), None)
                yield Finding(
                    code="PD301",
                    level="warning",
                    about=service,
                    seen="it has no selector, and there is no EndpointSlice of that name",
                    change=_selecting(service, named)
                    if named
                    else "a selector with the labels of the pods, or EndpointSlices that are kept by hand",
                    target=service if named else None,
                )
            continue
        pods = [Workload.of(one) for one in objects.of_kind("Pod", service.namespace)]
        if any(w.matches(selector) for w in (*there, *pods)):
            continue
        if not objects.is_live and (not there or objects.has_custom(service.namespace)):
            what = "a custom resource may make its pods" if there else "no workload is there"
            yield NotChecked(("PD301",), f"{service}: {what}")
            continue
        unknown = [key for key in selector if not any(key in w.labels for w in there)]
        at_run_time = any(objects.may_select(service, w) for w in there)
        nearest = _nearest(service, there)
        pairs = ", ".join(f"{key}: {value}" for key, value in selector.items())
        has = f"; {nearest.name} has {_pairs(nearest, selector)}" if nearest else ""
        yield Finding(
            code="PD301",
            level="warning" if at_run_time else "error",
            about=service,
            seen=f"{pairs} selects nothing{has}"
            + (f" (is {', '.join(sorted(unknown))} set at run time?)" if at_run_time else ""),
            change=_selecting(service, nearest) if nearest else "the labels of the pods",
            target=service if nearest else None,
        )


def _selecting(service: Object, w: Workload) -> dict[str, Any]:
    """The patch by which a Service selects these pods."""
    labels = {key: str(value) for key, value in _selector_of(w).items()}
    return {"spec": {"selector": {**dict.fromkeys(service.selector.keys() - labels.keys()), **labels}}}


def _nearest(service: Object, workloads: list[Workload]) -> Workload | None:
    """The workload that names the Service, else the one whose labels match it best."""
    return max(
        workloads,
        key=lambda w: (
            serves(w.object, service.name),
            sum(w.labels.get(k) == v for k, v in service.selector.items()),
            not w.is_job,
        ),
        default=None,
    )


def _selector_of(w: Workload) -> dict[str, Any]:
    found = at(w.object.data, "spec.selector.matchLabels")
    return found if isinstance(found, dict) and found else dict(w.labels)


def _pairs(w: Workload, selector: dict[str, str]) -> str:
    labels = _selector_of(w)
    kept = {key: value for key, value in labels.items() if key in selector} or labels
    return ", ".join(f"{key}: {value}" for key, value in kept.items()) or "no labels"


def pd306(world: World) -> Iterator[Result]:
    """The old annotation stands in place of publishNotReadyAddresses."""
    for service in world.services:
        notes = at(service.data, "metadata.annotations")
        if isinstance(notes, dict) and str(notes.get(TOLERATE)).lower() == "true":
            if service.lists_unready:
                continue
            yield Finding(
                code="PD306",
                level="error",
                about=service,
                seen=f"{TOLERATE} has had no effect since Kubernetes 1.24",
                change={
                    "metadata": {"annotations": {TOLERATE: None}},
                    "spec": {"publishNotReadyAddresses": True},
                },
                target=service,
            )


def pd307(world: World) -> Iterator[Result]:
    """Endpoints that are not serving are listed as ready, of the Service that was asked for."""
    if world.name is None:
        return
    slices = world.objects.slices(world.namespace, world.name.service)
    listed = [
        e for one in slices for e in items(one.data, "endpoints") if at(e, "conditions.ready") is not False
    ]
    unready = [e for e in listed if at(e, "conditions.serving") is False]
    if unready:
        yield Finding(
            code="PD307",
            level="warning",
            about=world.service or str(world.name),
            seen=f"{len(unready)} of {len(listed)} listed pods are not ready (publishNotReadyAddresses)",
            change="a second headless Service without publishNotReadyAddresses, for requests",
        )


def pd308(world: World) -> Iterator[Result]:
    """The selector matches the pods of Jobs."""
    for service in world.services:
        selected = world.objects.selected_with_jobs(service)
        for job in (w for w in selected if w.is_job):
            others = [set(w.labels.items()) for w in selected if not w.is_job]
            more = sorted(set.intersection(*others) - set(job.labels.items())) if others else []
            more = [pair for pair in more if pair[0] not in service.selector]
            change: dict[str, Any] | str = "a label that the Job's pods lack"
            target: Object | None = None
            if more:
                change, target = {"spec": {"selector": dict(more[:1])}}, service
            elif others:  # they differ in no label: the Job's pods are to be called something else
                labels = {[*service.selector][-1]: job.name}
                change, target = in_template(job, {"metadata": {"labels": labels}}), job.object
            yield Finding(
                code="PD308",
                level="warning",
                about=service,
                seen=f"it selects the pods of {job.object.kind} {job.name}, too",
                change=change,
                target=target,
                also=(job.object,),
            )


CHECKS_OF_SERVICES = (pd105, pd205, pd301, pd306, pd307, pd308)
