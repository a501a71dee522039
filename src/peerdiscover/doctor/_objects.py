"""Kubernetes objects, and what follows from several: which pods a Service selects, which port it means.

Invariants:

* What stands in a field is not trusted: a field of the wrong type counts as one that is not there.
* `clusterIP: None` is a string in YAML. A missing field is Python's None, and means something else.
* An object without a namespace is in the one that was given, else in the single one that the others name,
  else in one called "".
* A pod belongs to a workload if it has all labels of the workload's template; only other pods count by
  themselves. So files, where there are no pods, and a cluster are read alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

__all__ = ["JOBS", "Object", "Objects", "Port", "Workload", "at", "items", "labels_of"]

JOBS = ("Job", "CronJob")
TEMPLATES = ("StatefulSet", "Deployment", "DaemonSet", "ReplicaSet", "ReplicationController", *JOBS)
COMPUTED = {"statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"}
"""Labels that Kubernetes gives to the pods of a StatefulSet."""


def at(data: object, path: str) -> Any:
    """The field at `path`, such as "spec.template.spec"; None if there is none."""
    for key in path.split("."):
        data = data.get(key) if isinstance(data, dict) else None
    return data


def items(data: object, path: str) -> list[dict[str, Any]]:
    """The mappings in the list at `path`."""
    found = at(data, path)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def labels_of(data: object) -> dict[str, str]:
    """The labels of an object."""
    return _labels(data.data if isinstance(data, Object) else data, "metadata.labels")


def _labels(data: object, path: str) -> dict[str, str]:
    found = at(data, path)
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _number(value: object) -> int | None:
    return value if type(value) is int and 0 < value < 65536 else None


@dataclass(frozen=True, slots=True, eq=False)
class Object:
    """One object: what was written, and where."""

    kind: str
    namespace: str
    name: str
    data: Mapping[str, Any]
    file: str | None = None
    line: int | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"

    @property
    def ignored(self) -> frozenset[str]:
        """The codes in its annotation `peerdiscover/ignore`."""
        notes = _labels(self.data, "metadata.annotations")
        return frozenset(notes.get("peerdiscover/ignore", "").replace(",", " ").split())

    # A Service

    @property
    def is_headless(self) -> bool:
        return bool(at(self.data, "spec.clusterIP") == "None" and not self.is_external)

    @property
    def is_external(self) -> bool:
        return bool(at(self.data, "spec.type") == "ExternalName")

    @property
    def selector(self) -> dict[str, str]:
        return _labels(self.data, "spec.selector")

    @property
    def lists_unready(self) -> bool:
        return at(self.data, "spec.publishNotReadyAddresses") is True

    @property
    def ports(self) -> list[Port]:
        """The ports of a Service. One whose number cannot be read is left out."""
        found = []
        for port in items(self.data, "spec.ports"):
            if (number := _number(port.get("port"))) is not None:
                target = port.get("targetPort") or number
                protocol = str(port.get("protocol") or "TCP")
                found.append(Port(str(port.get("name") or ""), number, target, protocol))
        return found


class Port(NamedTuple):
    """One port of a Service."""

    name: str
    number: int
    target: int | str
    protocol: str


@dataclass(frozen=True, slots=True, eq=False)
class Workload:
    """What makes pods, or one pod that was made by something else."""

    object: Object
    labels: Mapping[str, str]
    pod: Mapping[str, Any]
    """The spec of its pods."""

    @classmethod
    def of(cls, found: Object) -> Workload:
        path = {"CronJob": "spec.jobTemplate.spec.template", "Pod": ""}.get(found.kind, "spec.template")
        template = at(found.data, path) if path else found.data
        spec = at(template, "spec")
        return cls(found, _labels(template, "metadata.labels"), spec if isinstance(spec, dict) else {})

    @property
    def name(self) -> str:
        return self.object.name

    @property
    def is_job(self) -> bool:
        return self.object.kind in JOBS

    @property
    def replicas(self) -> int:
        found = at(self.object.data, "spec.replicas")
        return found if type(found) is int else 1

    @property
    def account(self) -> str:
        return str(self.pod.get("serviceAccountName") or "default")

    @property
    def containers(self) -> list[dict[str, Any]]:
        """Those that run as long as the pod does: sidecars are init containers that are restarted."""
        sidecars = [c for c in items(self.pod, "initContainers") if c.get("restartPolicy") == "Always"]
        return [*items(self.pod, "containers"), *sidecars]

    def declared(self, protocol: str) -> dict[int, str]:
        """The ports that its containers declare for that protocol, by number, with their names."""
        return {
            number: str(port.get("name") or "")
            for container in self.containers
            for port in items(container, "ports")
            if str(port.get("protocol") or "TCP") == protocol
            and (number := _number(port.get("containerPort"))) is not None
        }

    def port(self, port: Port) -> int | None:
        """The number that `targetPort` means here, by the rule of the endpoint controller; None: none."""
        if isinstance(port.target, int):
            return port.target
        declared = self.declared(port.protocol).items()
        return next((number for number, name in declared if name == port.target), None)

    def matches(self, selector: Mapping[str, str]) -> bool:
        """Whether a selector that is not empty selects its pods."""
        computed: set[str] = COMPUTED if self.object.kind == "StatefulSet" else set()
        return bool(selector) and all(
            key in computed or self.labels.get(key) == value for key, value in selector.items()
        )


@dataclass
class Objects:
    """All objects that are known. `unread` says which kinds are not, and why."""

    all: list[Object] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)
    is_live: bool = False
    """They come from a cluster, so what is not here is not there."""
    # What follows from them is kept: files of a whole cluster have thousands.
    _made: dict[str | None, list[Workload]] = field(default_factory=dict)
    _selected: dict[Object, list[Workload]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        found: Iterable[tuple[Mapping[str, Any], str | None, int | None]],
        namespace: str | None = None,
    ) -> Objects:
        """From what was written, with file and line."""
        read = [(data, file, line) for data, file, line in found if isinstance(data.get("kind"), str)]
        named = {str(ns) for data, _, _ in read if (ns := at(data, "metadata.namespace"))}
        home = namespace or (named.pop() if len(named) == 1 else "")
        return cls(
            [
                Object(
                    str(data["kind"]),
                    str(at(data, "metadata.namespace") or home),
                    str(at(data, "metadata.name") or at(data, "metadata.generateName") or "?"),
                    data,
                    file,
                    line,
                )
                for data, file, line in read
            ],
            is_live=any(at(data, "metadata.uid") for data, _, _ in read),
        )

    @cached_property
    def _by_kind(self) -> dict[tuple[str, str | None], list[Object]]:
        found: dict[tuple[str, str | None], list[Object]] = {}
        for one in self.all:
            for namespace in (None, one.namespace):
                found.setdefault((one.kind, namespace), []).append(one)
        return found

    @cached_property
    def _by_name(self) -> dict[tuple[str, str, str], Object]:
        return {(one.kind, one.namespace, one.name): one for one in reversed(self.all)}

    def of_kind(self, kind: str, namespace: str | None = None) -> list[Object]:
        return self._by_kind.get((kind, namespace), [])

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """The first of that name."""
        return self._by_name.get((kind, namespace, name))

    def workloads(self, namespace: str | None = None) -> list[Workload]:
        """What makes pods, and the pods that none of these makes."""
        if namespace not in self._made:
            self._made[namespace] = self._workloads(namespace)
        return self._made[namespace]

    def _workloads(self, namespace: str | None) -> list[Workload]:
        makers = [
            Workload.of(one)
            for kind in TEMPLATES
            for one in self.of_kind(kind, namespace)
            if kind not in ("ReplicaSet", "Job") or not at(one.data, "metadata.ownerReferences")
        ]
        ended = ("Succeeded", "Failed")
        pods = [
            Workload.of(one)
            for one in self.of_kind("Pod", namespace)
            if at(one.data, "status.phase") not in ended
        ]
        return makers + [pod for pod in pods if not any(_makes(maker, pod) for maker in makers)]

    def selected(self, service: Object) -> list[Workload]:
        """The workloads whose pods the Service lists; not those of Jobs, which end."""
        return [w for w in self.selected_with_jobs(service) if not w.is_job]

    def selected_with_jobs(self, service: Object) -> list[Workload]:
        if service not in self._selected:
            selector = service.selector
            there = self.workloads(service.namespace)
            self._selected[service] = [w for w in there if w.matches(selector)]
        return self._selected[service]

    def may_select(self, service: Object, w: Workload) -> bool:
        """Whether a Service selects pods by labels that a template has; others may be set later."""
        there = self.workloads(service.namespace)
        known = {k: v for k, v in service.selector.items() if any(k in other.labels for other in there)}
        return w.matches(service.selector) or w.matches(known)

    def headless(self, namespace: str | None = None) -> list[Object]:
        return [one for one in self.of_kind("Service", namespace) if one.is_headless]

    def slices(self, namespace: str, service: str) -> list[Object]:
        """The EndpointSlices of a Service."""
        return [
            one
            for one in self.of_kind("EndpointSlice", namespace)
            if labels_of(one).get("kubernetes.io/service-name") == service
        ]

    def has_custom(self, namespace: str) -> bool:
        """Whether a kind that is not Kubernetes's own, and may make pods, is in the namespace."""
        groups = (str(one.data.get("apiVersion") or "").rpartition("/")[0] for one in self.all
                  if one.namespace in (namespace, ""))  # fmt: skip
        return any("." in group and (not group.endswith(".k8s.io") or ".x-k8s" in group) for group in groups)


def _makes(maker: Workload, pod: Workload) -> bool:
    return (
        maker.object.namespace == pod.object.namespace
        and bool(maker.labels)
        and maker.labels.items() <= pod.labels.items()
    )
