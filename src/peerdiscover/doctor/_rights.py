"""The check of rights: whether the pods that need EndpointSlices may read them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from peerdiscover.sources.kubernetes._rbac import forbidden_text

from ._codes import Finding, NotChecked
from ._object import Object, items
from ._objects import Objects
from ._words import names_in
from ._world import Result, World


def pd501(world: World) -> Iterator[Result]:
    for w in world.workloads:
        for name, namespace in names_in(w):
            change: dict[str, Any] | str
            if not _has_token(world.objects, w):
                why = "its token is not mounted (automountServiceAccountToken: false)"
                change = w.in_template({"spec": {"automountServiceAccountToken": True}})
            else:
                roles = list(_roles(world.objects, w, namespace))
                rules = [rule for role in roles if isinstance(role, Object) for rule in role.items("rules")]
                if all(any(_allows(rule, verb) for rule in rules) for verb in ("list", "watch")):
                    continue
                if unknown := [role for role in roles if isinstance(role, str)]:
                    yield NotChecked(("PD501",), f"the ClusterRole {unknown[0]} is not here", w)
                    continue
                why = f"no Role here lets the account {w.account} "
                why += f"list and watch EndpointSlices of {namespace}"
                change = forbidden_text(namespace, name.service, _user(w)).partition(":\n")[2]
            yield Finding("PD501", "warning", w, f"it uses {name}, and {why}", change, w)
            break


def _user(w: Object) -> str:
    return f"system:serviceaccount:{w.namespace}:{w.account}"


def _has_token(objects: Objects, w: Object) -> bool:
    projected = any(
        "serviceAccountToken" in source
        for volume in items(w.pod, "volumes")
        for source in items(volume, "projected.sources")
    )
    mounts = w.pod.get("automountServiceAccountToken")
    account = objects.get("ServiceAccount", w.namespace, w.account)
    if mounts is None and account is not None:
        mounts = account.at("automountServiceAccountToken")
    return projected or mounts is not False


def _roles(objects: Objects, w: Object, namespace: str) -> Iterator[Object | str]:
    """What bindings there, or of the cluster, give the account; of what is not known the name."""
    for binding in (*objects.of_kind("RoleBinding", namespace), *objects.of_kind("ClusterRoleBinding")):
        if any(_is_subject(one, w) for one in binding.items("subjects")):
            name = str(binding.at("roleRef.name"))
            if binding.at("roleRef.kind") == "ClusterRole":
                yield next((one for one in objects.of_kind("ClusterRole") if one.name == name), name)
            elif role := objects.get("Role", namespace, name):
                yield role


def _is_subject(subject: Mapping[str, Any], w: Object) -> bool:
    home = w.namespace
    if subject.get("kind") == "ServiceAccount":
        return subject.get("name") == w.account and (subject.get("namespace") or home) == home
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{home}", "system:authenticated")
    return subject.get("name") in (*groups, _user(w))


def _allows(rule: Mapping[str, Any], verb: str) -> bool:
    needed = {"apiGroups": "discovery.k8s.io", "resources": "endpointslices", "verbs": verb}
    return not rule.get("resourceNames") and all(
        isinstance(given := rule.get(key), list) and ("*" in given or one in given)
        for key, one in needed.items()
    )
