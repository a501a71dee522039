"""Checks of network policies: what they let through. Pure: one function a code.

Invariants:

* Only ports are looked at. Which peers a selector or an address block means is not known.
* Policies add up: what one of them allows is allowed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ._codes import Finding
from ._objects import Object, Objects, Workload, at, items
from ._world import Result, World

__all__ = ["CHECKS_OF_POLICIES"]

DNS_PORTS = (53, 5353)
"""OpenShift's DNS listens on 5353."""


def pd101(world: World) -> Iterator[Result]:
    """No egress rule lets DNS out."""
    for w in world.workloads:
        rules = _rules(world.objects, w, "Egress")
        if rules is not None and not any(_is_open(rules, w, "UDP", port) for port in DNS_PORTS):
            yield _egress(world, w, "PD101", "no egress rule lets UDP out to port 53")


def pd107(world: World) -> Iterator[Result]:
    """Egress rules let DNS out over UDP, and not over TCP."""
    for w in world.workloads:
        rules = _rules(world.objects, w, "Egress")
        for port in DNS_PORTS if rules is not None else ():
            if _is_open(rules or [], w, "UDP", port):
                if not any(_is_open(rules or [], w, "TCP", port) for port in DNS_PORTS):
                    yield _egress(world, w, "PD107", f"egress rules let UDP out to port {port}, and no TCP")
                break


def _egress(world: World, w: Workload, code: str, seen: str) -> Finding:
    policy = _policies(world.objects, w, "Egress")[0]
    rule = {"ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]}
    return Finding(
        code=code,
        level="warning",
        about=w.object,
        seen=seen,
        change={"spec": {"egress": [*items(policy.data, "spec.egress"), rule]}},
        target=policy,
        also=(policy,),
    )


def pd202(world: World) -> Iterator[Result]:
    """No ingress rule lets anything in at a port of the Service that a container has."""
    for service in world.services:
        for w in world.objects.selected(service):
            rules = _rules(world.objects, w, "Ingress")
            if rules is None:
                continue
            numbers = {(port.protocol, number) for port in service.ports
                       if (number := w.port(port)) in w.declared(port.protocol)}  # fmt: skip
            closed = sorted(
                (protocol, number)
                for protocol, number in numbers
                if number is not None and not _is_open(rules, w, protocol, number)
            )
            if closed:
                policy = _policies(world.objects, w, "Ingress")[0]
                ports = [{"protocol": protocol, "port": number} for protocol, number in closed]
                yield Finding(
                    code="PD202",
                    level="warning",
                    about=service,
                    seen=f"no ingress rule lets anything in to {w.name} at "
                    + ", ".join(f"{number}/{protocol}" for protocol, number in closed),
                    change={"spec": {"ingress": [*items(policy.data, "spec.ingress"), {"ports": ports}]}},
                    target=policy,
                    also=(policy, w.object),
                )


def _policies(objects: Objects, w: Workload, direction: str) -> list[Object]:
    """The policies that select these pods and speak of that direction."""
    found = []
    for policy in objects.of_kind("NetworkPolicy", w.object.namespace):
        kinds = at(policy.data, "spec.policyTypes")
        if not isinstance(kinds, list) or not kinds:  # the API's default
            kinds = ["Ingress", *["Egress"] * bool(at(policy.data, "spec.egress"))]
        if direction in kinds and _selects(at(policy.data, "spec.podSelector"), w):
            found.append(policy)
    return found


def _rules(objects: Objects, w: Workload, direction: str) -> list[dict[str, Any]] | None:
    """All rules for these pods; None if no policy selects them, so that everything is let through."""
    policies = _policies(objects, w, direction)
    return [r for one in policies for r in items(one.data, f"spec.{direction.lower()}")] if policies else None


def _selects(selector: object, w: Workload) -> bool:
    """Whether a label selector selects pods; an empty one selects all, and an odd one none."""
    pairs = at(selector, "matchLabels")
    if isinstance(pairs, dict) and any(w.labels.get(str(k)) != str(v) for k, v in pairs.items()):
        return False
    for rule in items(selector, "matchExpressions"):
        value, given = w.labels.get(str(rule.get("key"))), rule.get("values")
        values = given if isinstance(given, list) else []
        holds = {
            "In": value in values,
            "NotIn": value not in values,
            "Exists": value is not None,
            "DoesNotExist": value is None,
        }
        if not holds.get(str(rule.get("operator")), False):
            return False
    return True


def _is_open(rules: list[dict[str, Any]], w: Workload, protocol: str, number: int) -> bool:
    return any(
        not rule.get("ports") or any(_covers(port, w, protocol, number) for port in items(rule, "ports"))
        for rule in rules
    )


def _covers(port: Mapping[str, Any], w: Workload, protocol: str, number: int) -> bool:
    if (port.get("protocol") or "TCP") != protocol:
        return False
    first = port.get("port")
    if isinstance(first, str):  # a name of the pods that receive: of others nothing is known
        return w.declared(protocol).get(number) == first or (number in DNS_PORTS and first.startswith("dns"))
    last = port.get("endPort", first)
    return first is None or (isinstance(first, int) and isinstance(last, int) and first <= number <= last)


CHECKS_OF_POLICIES = (pd101, pd107, pd202)
