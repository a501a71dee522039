"""Checks of the pods: whether they accept, and which of them this one is. Pure: one function a code."""

from __future__ import annotations

from collections.abc import Iterator

from peerdiscover._labels import ordinal_of

from ._codes import Finding, NotChecked
from ._world import Result, World, is_not_serving


def pd201(world: World) -> Iterator[Result]:
    yield from _unreachable(world, "PD201", "refuses", "refuse")


def pd202(world: World) -> Iterator[Result]:
    yield from _unreachable(world, "PD202", "is silent", "do not answer within 1 s")


def _unreachable(world: World, code: str, how: str, words: str) -> Iterator[Result]:
    heard = world.heard
    failing = [peer for peer in heard.peers if heard.connects.get(peer.hostport) == how]
    if not failing:
        return
    is_one = len(failing) == 1
    addresses = {peer.address for peer in failing}
    accepting = [place.rpartition(":") for place, found in heard.connects.items() if found == "accepts"]
    others = sorted({port for address, _, port in accepting if address.strip("[]") in addresses})
    keys = [peer.key if peer.key == peer.hostport else f"{peer.key} {peer.hostport}" for peer in failing[:3]]
    seen = ", ".join(keys) + (f" and {len(failing) - 3} more" if len(failing) > 3 else "")
    seen += f" {how if is_one and how == 'refuses' else words}, twice"
    change = "the port on which the pods listen, on all addresses"
    if others:
        seen += f"; {'it accepts' if is_one else 'they accept'} at {', '.join(others)}"
        change = f"the name: {world.name_with(others[0])}"
    if code == "PD202":
        change = "an ingress rule for that port, if a NetworkPolicy selects the pods"
    quiet = world.addresses(is_not_serving)
    is_known = quiet is not None and addresses <= quiet
    yield Finding(code, "note" if is_known else "error", world.about, seen, change)


def pd203(world: World) -> Iterator[Result]:
    own = world.heard.own
    for peer in world.heard.peers:
        if own and own.addresses & set(peer.addresses) and peer.port in own.loopback_ports:
            seen = f"this pod, {peer.key}, listens for {peer.port} on loopback only"
            yield Finding("PD203", "error", world.about, seen, "--host 0.0.0.0 (or ::) of the server")


def pd204(world: World) -> Iterator[Result]:
    heard, own = world.heard, world.heard.own
    if own is None or heard.answer.kind != "headless" or not heard.peers:
        return
    if own.namespace != world.namespace or any(peer.is_self for peer in heard.peers):
        return
    pod, service = world.objects.get("Pod", world.namespace, own.name or ""), world.service
    if pod is None or service is None:
        why = "whether this pod is meant to be a peer: its labels and the selector say it"
        yield NotChecked(("PD204",), why)
    elif pod.matches(service.selector):
        is_ready = pod.ready_condition.get("status") == "True"
        addresses = ", ".join(sorted(own.addresses)) or "none"
        seen = f"no peer is this pod: compared hostname {own.name}, addresses {addresses}"
        change = "POD_NAME and POD_IP by the downward API"
        yield Finding("PD204", "warning" if is_ready else "note", service, seen, change)


def pd205(world: World) -> Iterator[Result]:
    by_ordinal: dict[int, set[str]] = {}
    for peer in world.heard.peers:
        if peer.hostname and (ordinal := ordinal_of(peer.hostname)) is not None:
            by_ordinal.setdefault(ordinal, set()).add(peer.hostname)
    for ordinal, names in sorted(by_ordinal.items()):
        if len(names) > 1:
            seen = f"ordinal {ordinal} is {' and '.join(sorted(names)[:3])}"
            change = "use hostnames in place of ordinals, or a Service for each StatefulSet"
            yield Finding("PD205", "warning", world.about, seen, change)
            return


CHECKS_OF_PODS = (pd201, pd202, pd203, pd204, pd205)
