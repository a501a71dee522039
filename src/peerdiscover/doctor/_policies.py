"""Checks of network policies: what they let through. Pure: one function a code.

Invariants:

* Only ports are looked at. Which peers a selector or an address block means is not known.
* Policies add up: what one of them allows is allowed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from ._codes import Finding
from ._object import Object, items
from ._world import Result, World

DNS_PORTS = (53, 5353)
"""OpenShift's DNS listens on 5353."""


@dataclass(frozen=True, slots=True)
class _Rules:
    """All rules for the pods of a workload in one direction, and the policy to change."""

    w: Object
    direction: str
    policy: Object
    rules: list[dict[str, Any]]

    def allow(self, protocol: str, number: int) -> bool:
        return any(
            not rule.get("ports")
            or any(self._covers(port, protocol, number) for port in items(rule, "ports"))
            for rule in self.rules
        )

    def _covers(self, port: Mapping[str, Any], protocol: str, number: int) -> bool:
        if (port.get("protocol") or "TCP") != protocol:
            return False
        first = port.get("port")
        if isinstance(first, str):  # a name of the pods that receive: of others nothing is known
            is_dns = number in DNS_PORTS and first.startswith("dns")
            return is_dns or self.w.declared(protocol).get(number) == first
        last = port.get("endPort", first)
        return first is None or (isinstance(first, int) and isinstance(last, int) and first <= number <= last)

    def with_ports(self, *ports: tuple[str, int]) -> dict[str, Any]:
        """The patch of the policy that adds a rule for these."""
        rule = {"ports": [{"protocol": protocol, "port": number} for protocol, number in ports]}
        return {"spec": {self.direction: [*self.policy.items(f"spec.{self.direction}"), rule]}}


def _rules(world: World, w: Object, direction: str) -> _Rules | None:
    """None if no policy selects the pods, so that everything is let through."""
    policies = [one for one in world.objects.policies(w) if direction in _directions(one)]
    rules = [rule for one in policies for rule in one.items(f"spec.{direction}")]
    own = [one for one in policies if one.at("spec.podSelector")]  # the others are about all pods
    return _Rules(w, direction, (own or policies)[0], rules) if policies else None


def _directions(policy: Object) -> set[str]:
    kinds = policy.at("spec.policyTypes")
    if isinstance(kinds, list) and kinds:
        return {str(kind).lower() for kind in kinds}
    return {"ingress", "egress"} if policy.at("spec.egress") else {"ingress"}  # the API's default


def pd101(world: World) -> Iterator[Result]:
    for rules in _egress(world):
        if not any(rules.allow("UDP", port) for port in DNS_PORTS):
            yield _dns(rules, "PD101", "no egress rule lets UDP out to port 53")


def pd107(world: World) -> Iterator[Result]:
    for rules in _egress(world):
        port = next((port for port in DNS_PORTS if rules.allow("UDP", port)), None)
        if port is not None and not any(rules.allow("TCP", port) for port in DNS_PORTS):
            yield _dns(rules, "PD107", f"egress rules let UDP out to port {port}, and no TCP")


def _egress(world: World) -> Iterator[_Rules]:
    return (rules for w in world.workloads if (rules := _rules(world, w, "egress")))


def _dns(rules: _Rules, code: str, seen: str) -> Finding:
    change = rules.with_ports(("UDP", 53), ("TCP", 53))
    return Finding(code, "warning", rules.w, seen, change, rules.policy, (rules.policy,))


def pd202(world: World) -> Iterator[Result]:
    rules_of = cache(lambda w: _rules(world, w, "ingress"))  # many Services may select the same workload

    @cache
    def is_open(w: Object, protocol: str, number: int) -> bool:
        rules = rules_of(w)
        return rules is None or rules.allow(protocol, number)

    for service in world.services:
        for w in world.objects.selected(service):
            if not (rules := rules_of(w)):
                continue
            numbers = {(port.protocol, number) for port in service.ports if (number := w.port(port))}
            declared = {one for one in numbers if one[1] in w.declared(one[0])}
            if closed := sorted(one for one in declared if not is_open(w, *one)):
                seen = f"no ingress rule lets anything in to {w.name} at "
                seen += ", ".join(f"{number}/{protocol}" for protocol, number in closed)
                also = (rules.policy, w)
                yield Finding(
                    "PD202", "warning", service, seen, rules.with_ports(*closed), rules.policy, also
                )


CHECKS_OF_POLICIES = (pd101, pd107, pd202)
