"""One Kubernetes object: what is written in it.

Invariants:

* What stands in a field is not trusted: a field of the wrong type counts as one that is not there.
* `clusterIP: None` is a string in YAML. A missing field is Python's None, and means something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

JOBS = ("Job", "CronJob")
TEMPLATES = ("StatefulSet", "Deployment", "DaemonSet", "ReplicaSet", "ReplicationController", *JOBS)
COMPUTED = {
    "StatefulSet": {"statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"},
    "Job": {"job-name", "batch.kubernetes.io/job-name", "batch.kubernetes.io/job-completion-index"},
}
"""Labels that Kubernetes gives to the pods of such a workload."""
ALL_COMPUTED = frozenset(label for labels in COMPUTED.values() for label in labels)


def at(data: object, path: str) -> Any:
    """The field at `path`, such as "spec.template.spec"; None if there is none."""
    for key in path.split("."):
        data = data.get(key) if isinstance(data, dict) else None
    return data


def items(data: object, path: str) -> list[dict[str, Any]]:
    """The mappings in the list at `path`."""
    found = at(data, path)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def strings(data: object, path: str) -> dict[str, str]:
    """The mapping at `path`, such as labels."""
    found = at(data, path)
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def _number(value: object) -> int | None:
    return value if type(value) is int and 0 < value < 65536 else None


class Port(NamedTuple):
    """One port of a Service."""

    name: str
    number: int
    target: int | str
    protocol: str
    place: int
    """Its index among the ports of the Service."""


@dataclass(frozen=True, eq=False)
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

    def at(self, path: str) -> Any:
        return at(self.data, path)

    def items(self, path: str) -> list[dict[str, Any]]:
        return items(self.data, path)

    @property
    def ignored(self) -> frozenset[str]:
        """The codes in its annotation `peerdiscover/ignore`."""
        notes = strings(self.data, "metadata.annotations")
        return frozenset(notes.get("peerdiscover/ignore", "").replace(",", " ").split())

    # A Service

    @cached_property
    def is_headless(self) -> bool:
        return bool(self.at("spec.clusterIP") == "None" and not self.is_external)

    @property
    def is_external(self) -> bool:
        return bool(self.at("spec.type") == "ExternalName")

    @cached_property
    def selector(self) -> dict[str, str]:
        return strings(self.data, "spec.selector")

    @property
    def lists_unready(self) -> bool:
        return self.at("spec.publishNotReadyAddresses") is True

    @cached_property
    def ports(self) -> list[Port]:
        """The ports of a Service. One whose number cannot be read is left out."""
        found = []
        for place, port in enumerate(self.items("spec.ports")):
            if (number := _number(port.get("port"))) is not None:
                target = port.get("targetPort") or number
                target = target if isinstance(target, int) else str(target)
                protocol = str(port.get("protocol") or "TCP")
                found.append(Port(str(port.get("name") or ""), number, target, protocol, place))
        return found

    # A pod

    @property
    def ready_condition(self) -> Mapping[str, Any]:
        """Its condition `Ready`; empty if it has none."""
        return next((one for one in self.items("status.conditions") if one.get("type") == "Ready"), {})

    # A workload

    @property
    def _path(self) -> tuple[str, ...]:
        """Where its template is."""
        if self.kind == "CronJob":
            return ("spec", "jobTemplate", "spec", "template")
        return ("spec", "template") if self.kind in TEMPLATES else ()

    @cached_property
    def _template(self) -> Any:
        return self.at(".".join(self._path)) if self._path else self.data

    def in_template(self, patch: Mapping[str, Any]) -> dict[str, Any]:
        """The patch of a workload that changes the template of its pods."""
        patch = dict(patch)
        for key in reversed(self._path):
            patch = {key: patch}
        return patch

    @cached_property
    def labels(self) -> dict[str, str]:
        """Those of its pods; of what is no workload its own."""
        return strings(self._template, "metadata.labels")

    @cached_property
    def pod(self) -> dict[str, Any]:
        """The spec of its pods."""
        spec = at(self._template, "spec")
        return spec if isinstance(spec, dict) else {}

    @property
    def is_job(self) -> bool:
        return self.kind in JOBS

    @property
    def replicas(self) -> int:
        found = self.at("spec.replicas")
        return found if type(found) is int else 1

    @property
    def account(self) -> str:
        return str(self.pod.get("serviceAccountName") or "default")

    @cached_property
    def containers(self) -> list[dict[str, Any]]:
        """Those that run as long as the pod does: sidecars are init containers that are restarted."""
        sidecars = [c for c in items(self.pod, "initContainers") if c.get("restartPolicy") == "Always"]
        return [*items(self.pod, "containers"), *sidecars]

    @cached_property
    def _declared(self) -> dict[str, dict[int, str]]:
        found: dict[str, dict[int, str]] = {}
        for container in self.containers:
            for port in items(container, "ports"):
                if (number := _number(port.get("containerPort"))) is not None:
                    protocol = str(port.get("protocol") or "TCP")
                    found.setdefault(protocol, {})[number] = str(port.get("name") or "")
        return found

    def declared(self, protocol: str) -> dict[int, str]:
        """The ports that its containers declare for that protocol, by number, with their names."""
        return self._declared.get(protocol, {})

    def port(self, port: Port) -> int | None:
        """The number that `targetPort` means here, by the rule of the endpoint controller; None: none."""
        if isinstance(port.target, int):
            return port.target
        declared = self.declared(port.protocol).items()
        return next((number for number, name in declared if name == port.target), None)

    def matches(self, selector: Mapping[str, str]) -> bool:
        """Whether a selector that is not empty selects its pods."""
        return bool(selector) and all(self._has(*pair) for pair in selector.items())

    def _has(self, key: str, value: str) -> bool:
        if key in COMPUTED.get(self.kind, ()):
            return value == self.name or not key.endswith("job-name")
        return self.labels.get(key) == value
