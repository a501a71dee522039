"""The check of rights: whether the pods that need EndpointSlices may read them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from peerdiscover.names import ServiceName
from peerdiscover.sources.kubernetes._rbac import forbidden_text

from ._codes import Finding
from ._objects import Object, Objects, Workload, at, items
from ._words import names_in
from ._workloads import in_pod
from ._world import Result, World

__all__ = ["pd501"]


def pd501(world: World) -> Iterator[Result]:
    """A container uses a name for the API, and its account may not read EndpointSlices there."""
    for w in world.workloads:
        for name, namespace in names_in(w):
            account = world.objects.get("ServiceAccount", w.object.namespace, w.account)
            why = ""
            if not _has_token(w, account):
                why = "its token is not mounted (automountServiceAccountToken: false)"
            elif not _may_read(world.objects, w, namespace):
                why = (
                    f"no Role here lets the account {w.account} list and watch EndpointSlices of {namespace}"
                )
            if why:
                yield _unreadable(w, name, namespace, why)
                break


def _unreadable(w: Workload, name: ServiceName, namespace: str, why: str) -> Finding:
    who = f"system:serviceaccount:{w.object.namespace}:{w.account}"
    role = forbidden_text(namespace, name.service, who).partition(":\n")[2]
    return Finding(
        code="PD501",
        level="warning",
        about=w.object,
        seen=f"it uses {name}, and {why}",
        change=in_pod(w, {"automountServiceAccountToken": True}) if "token" in why else role,
        target=w.object if "token" in why else None,
    )


def _has_token(w: Workload, account: Object | None) -> bool:
    projected = any(
        "serviceAccountToken" in source
        for volume in items(w.pod, "volumes")
        for source in items(volume, "projected.sources")
    )
    mounts = w.pod.get("automountServiceAccountToken")
    if mounts is None and account is not None:
        mounts = account.data.get("automountServiceAccountToken")
    return projected or mounts is not False


def _may_read(objects: Objects, w: Workload, namespace: str) -> bool:
    """Whether a binding in that namespace gives the account a role with the right."""
    for binding in objects.of_kind("RoleBinding", namespace):
        if not any(_is_subject(one, w) for one in items(binding.data, "subjects")):
            continue
        if at(binding.data, "roleRef.kind") == "ClusterRole":
            role = next(
                (r for r in objects.of_kind("ClusterRole") if r.name == at(binding.data, "roleRef.name")),
                None,
            )
            if role is None:
                return True  # it is not known what a role of the cluster allows
        else:
            role = objects.get("Role", namespace, str(at(binding.data, "roleRef.name")))
        if role is not None and any(_allows(rule) for rule in items(role.data, "rules")):
            return True
    return False


def _is_subject(subject: Mapping[str, Any], w: Workload) -> bool:
    home = w.object.namespace
    if subject.get("kind") == "ServiceAccount":
        return subject.get("name") == w.account and (subject.get("namespace") or home) == home
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{home}", "system:authenticated")
    user = f"system:serviceaccount:{home}:{w.account}"
    return subject.get("name") in (*groups, user)


def _allows(rule: Mapping[str, Any]) -> bool:
    def has(key: str, *wanted: str) -> bool:
        given = rule.get(key)
        return isinstance(given, list) and ("*" in given or all(one in given for one in wanted))

    return (
        has("apiGroups", "discovery.k8s.io")
        and has("resources", "endpointslices")
        and has("verbs", "list", "watch")
    )
