"""What follows from several Kubernetes objects: which pods a Service selects, who makes them.

Invariants:

* An object without a namespace is in the one that was given, else in the single one that the others name,
  else in one called "".
* A workload is what makes pods, or a pod that no other object here makes: one that has all labels of a
  template is made by it. So files, where there are no pods, and a cluster are read alike.
* Whatever is looked up has an index: files of a whole cluster have thousands of objects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from ._object import ALL_COMPUTED, TEMPLATES, Object, at, items, strings

MAKE_NOTHING = {
    *("Certificate", "Issuer", "ClusterIssuer", "ExternalSecret", "SealedSecret", "SecretStore"),
    *("ServiceMonitor", "PodMonitor", "PrometheusRule", "Probe", "ScaledObject", "VerticalPodAutoscaler"),
    *("AuthorizationPolicy", "CiliumNetworkPolicy", "DestinationRule", "IngressRoute", "PeerAuthentication"),
    *("Route", "VirtualService"),
}
"""Well-known kinds that are not Kubernetes's own, and make neither pods nor Services."""

K = TypeVar("K")
V = TypeVar("V")


@dataclass
class Objects:
    """All objects that are known. `unread` says which kinds are not, and why."""

    all: list[Object] = field(default_factory=list)
    unread: dict[str, str] = field(default_factory=dict)
    is_live: bool = False
    """They come from a cluster."""
    is_asked: bool = False
    """They come from the API server, which was asked for all kinds."""

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
        objects = []
        for data, file, line in read:
            name = at(data, "metadata.name") or at(data, "metadata.generateName") or "?"
            space = at(data, "metadata.namespace") or home
            objects.append(Object(str(data["kind"]), str(space), str(name), data, file, line))
        return cls(objects, is_live=any(at(data, "metadata.uid") for data, _, _ in read))

    @cached_property
    def _by_kind(self) -> dict[tuple[str, str | None], list[Object]]:
        return _index(((one.kind, ns), one) for one in self.all for ns in (None, one.namespace))

    @cached_property
    def _by_name(self) -> dict[tuple[str, str, str], list[Object]]:
        return _index(((one.kind, one.namespace, one.name), one) for one in self.all)

    def is_whole(self, kind: str) -> bool:
        """Whether one of this kind that is not here is not there. Not each kind need have been exported."""
        return self.is_asked or (self.is_live and bool(self.of_kind(kind)))

    def of_kind(self, kind: str, namespace: str | None = None) -> list[Object]:
        return self._by_kind.get((kind, namespace), [])

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """The first of that name."""
        return next(iter(self._by_name.get((kind, namespace, name), ())), None)

    @cached_property
    def _workloads(self) -> dict[str | None, list[Object]]:
        makers = [
            one
            for kind in TEMPLATES
            for one in self.of_kind(kind)
            if kind not in ("ReplicaSet", "Job") or not one.at("metadata.ownerReferences")
        ]
        # A template is looked up by the one of its labels that the fewest have.
        counts = Counter(pair for maker in makers for pair in maker.labels.items())
        by_label = _index(
            (min(one.labels.items(), key=counts.__getitem__), one) for one in makers if one.labels
        )
        pods = [
            pod
            for pod in self.of_kind("Pod")
            if pod.at("status.phase") not in ("Succeeded", "Failed")
            and not any(
                maker.namespace == pod.namespace and maker.labels.items() <= pod.labels.items()
                for pair in pod.labels.items()
                for maker in by_label.get(pair, ())
            )
        ]
        return _index((ns, one) for one in makers + pods for ns in (None, one.namespace))

    def workloads(self, namespace: str | None = None) -> list[Object]:
        return self._workloads.get(namespace, [])

    @cached_property
    def _by_label(self) -> dict[tuple[str, tuple[str, str]], list[Object]]:
        return _index(((one.namespace, pair), one) for one in self.workloads() for pair in one.labels.items())

    def _candidates(self, namespace: str, labels: Mapping[str, str]) -> list[Object]:
        """A few workloads, among which are all that have these labels."""
        found = [
            self._by_label.get((namespace, pair), [])
            for pair in labels.items()
            if pair[0] not in ALL_COMPUTED
        ]
        return min(found, key=len) if found else self.workloads(namespace)

    @cached_property
    def _selected_with_jobs(self) -> dict[Object, list[Object]]:
        return {
            service: [
                w
                for w in self._candidates(service.namespace, service.selector)
                if w.matches(service.selector)
            ]
            for service in self.of_kind("Service")
        }

    @cached_property
    def _selected(self) -> dict[Object, list[Object]]:
        return {service: [w for w in ws if not w.is_job] for service, ws in self._selected_with_jobs.items()}

    def selected_with_jobs(self, service: Object) -> list[Object]:
        return self._selected_with_jobs[service]

    def selected(self, service: Object) -> list[Object]:
        """The workloads whose pods the Service lists; not those of Jobs, which end."""
        return self._selected[service]

    @cached_property
    def _behind(self) -> dict[Object, list[Object]]:
        return _index((w, service) for service in self.headless() for w in self.selected_with_jobs(service))

    def behind(self, w: Object) -> list[Object]:
        """The headless Services that select a workload's pods."""
        return self._behind.get(w, [])

    def may_select(self, service: Object, w: Object) -> bool:
        """Whether a Service selects pods by labels that a template has; others may be set later."""
        known = {k: v for k, v in service.selector.items() if k in self.label_keys(service.namespace)}
        return w.matches(service.selector) or w.matches(known)

    @cached_property
    def _label_keys(self) -> dict[str, set[str]]:
        keys = _index((one.namespace, key) for one in self.workloads() for key in one.labels)
        return {namespace: set(found) for namespace, found in keys.items()}

    def label_keys(self, namespace: str) -> set[str]:
        """The labels that pods in a namespace have."""
        return self._label_keys.get(namespace, set())

    def headless(self) -> list[Object]:
        return [one for one in self.of_kind("Service") if one.is_headless]

    @cached_property
    def _governed(self) -> dict[tuple[str, str], list[Object]]:
        named = ((one.at("spec.serviceName"), one) for one in self.of_kind("StatefulSet"))
        return _index(((one.namespace, name), one) for name, one in named if isinstance(name, str))

    def governed(self, namespace: str, service: str) -> list[Object]:
        """The StatefulSets that name a Service."""
        return self._governed.get((namespace, service), [])

    @cached_property
    def _slices(self) -> dict[tuple[str, str | None], list[Object]]:
        return _index(((one.namespace, one.labels.get("kubernetes.io/service-name")), one)
                      for one in self.of_kind("EndpointSlice"))  # fmt: skip

    def slices(self, namespace: str, service: str) -> list[Object]:
        """The EndpointSlices of a Service."""
        return self._slices.get((namespace, service), [])

    @cached_property
    def _policies(self) -> dict[Object, list[Object]]:
        pairs = ((policy, policy.at("spec.podSelector")) for policy in self.of_kind("NetworkPolicy"))
        return _index(
            (w, policy)
            for policy, selector in pairs
            for w in self._candidates(policy.namespace, strings(selector, "matchLabels"))
            if _selects(selector, w)
        )

    def policies(self, w: Object) -> list[Object]:
        """The NetworkPolicies that select a workload's pods."""
        return self._policies.get(w, [])

    @cached_property
    def _custom(self) -> set[str]:
        groups = {
            (one.namespace, str(one.data.get("apiVersion") or "").rpartition("/")[0])
            for one in self.all
            if one.kind not in MAKE_NOTHING
        }
        return {ns for ns, group in groups if "." in group and not _is_kubernetes_own(group)}

    def has_custom(self, namespace: str) -> bool:
        """Whether a kind that is not Kubernetes's own, and may make pods or Services, is in the namespace."""
        return bool(self._custom & {namespace, ""})


def _index(pairs: Iterable[tuple[K, V]]) -> dict[K, list[V]]:
    found: dict[K, list[V]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found


def _is_kubernetes_own(group: str) -> bool:
    return group.endswith(".k8s.io") and ".x-k8s" not in group


def _selects(selector: object, w: Object) -> bool:
    """Whether a label selector selects pods; an empty one selects all, and an odd one none."""
    return strings(selector, "matchLabels").items() <= w.labels.items() and all(
        _holds(rule, w.labels.get(str(rule.get("key")))) for rule in items(selector, "matchExpressions")
    )


def _holds(rule: Mapping[str, Any], value: str | None) -> bool:
    values = rule.get("values")
    is_in = isinstance(values, list) and value in values
    holds = {"In": is_in, "NotIn": not is_in, "Exists": value is not None, "DoesNotExist": value is None}
    return holds.get(str(rule.get("operator")), False)
