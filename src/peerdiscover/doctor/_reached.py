"""Checks of the pods: whether they accept, and which of them this one is. Pure: one function a code."""

from __future__ import annotations

from collections.abc import Iterator

from peerdiscover._labels import ordinal_of

from ._codes import Finding, NotChecked
from ._objects import Workload, at, items
from ._world import Result, World, finding_of

__all__ = ["CHECKS_OF_PODS"]


def pd201(world: World) -> Iterator[Result]:
    """Pods refuse."""
    yield from _unreachable(world, "PD201", "refuses", "refuse")


def pd202(world: World) -> Iterator[Result]:
    """Pods do not answer."""
    yield from _unreachable(world, "PD202", "is silent", "do not answer within 1 s")


def _unreachable(world: World, code: str, how: str, words: str) -> Iterator[Result]:
    heard = world.heard
    if heard is None:
        return
    failing = [peer for peer in heard.peers if heard.connects.get(peer.hostport) == how]
    if not failing:
        return
    others = sorted(
        {
            place.rpartition(":")[2]
            for peer in failing
            for place, found in heard.connects.items()
            if found == "accepts" and place.rpartition(":")[0].strip("[]") == peer.address
        }
    )
    shown = ", ".join(
        peer.key if peer.key == peer.hostport else f"{peer.key} {peer.hostport}" for peer in failing[:3]
    )
    more = f" and {len(failing) - 3} more" if len(failing) > 3 else ""
    beside = (
        f"; {'they accept' if len(failing) > 1 else 'it accepts'} at {', '.join(others)}" if others else ""
    )
    is_one = len(failing) == 1 and how == "refuses"
    seen = f"{shown}{more} {'refuses' if is_one else words}, twice{beside}"
    change = (
        f"the name: {world.name_with(others[0])}"
        if others
        else "the port on which the pods listen, on all addresses"
    )
    if code == "PD202":
        change = "an ingress rule for that port, if a NetworkPolicy selects the pods"
    service = world.service
    quiet = _not_serving(world)
    is_known = quiet is not None and all(peer.address in quiet for peer in failing)
    yield Finding(
        code=code,
        level="note" if is_known else "error",
        about=service or str(world.name),
        seen=seen,
        change=change,
    )


def _not_serving(world: World) -> set[str] | None:
    """The addresses that are listed and not serving; None if the EndpointSlices are not known."""
    if world.name is None or "EndpointSlice" in world.objects.unread:
        return None
    return {
        str(address)
        for one in world.objects.slices(world.namespace, world.name.service)
        for endpoint in items(one.data, "endpoints")
        if at(endpoint, "conditions.serving") is False
        for address in endpoint.get("addresses") or ()
    }


def pd203(world: World) -> Iterator[Result]:
    """This pod refuses, and its server listens on loopback alone."""
    heard = world.heard
    for peer in heard.peers if heard and heard.own else ():
        assert heard is not None
        assert heard.own is not None
        if heard.own.addresses & set(peer.addresses) and peer.port in heard.own.loopback_ports:
            seen = f"this pod, {peer.key}, listens for {peer.port} on loopback only"
            yield finding_of(world, "PD203", seen, "--host 0.0.0.0 (or ::) of the server")


def pd204(world: World) -> Iterator[Result]:
    """No peer is this pod."""
    heard, name = world.heard, world.name
    if (
        heard is None
        or heard.own is None
        or name is None
        or heard.answer.kind != "headless"
        or not heard.peers
    ):
        return
    if heard.own.namespace != world.namespace or any(peer.is_self for peer in heard.peers):
        return
    own = world.objects.get("Pod", world.namespace, heard.own.name or "")
    service = world.service
    if own is None or service is None:
        yield NotChecked(
            ("PD204",), "whether this pod is meant to be a peer: its labels and the selector say it"
        )
        return
    if not Workload.of(own).matches(service.selector):
        return
    conditions = items(own.data, "status.conditions")
    is_ready = any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)
    addresses = ", ".join(sorted(heard.own.addresses)) or "none"
    yield Finding(
        code="PD204",
        level="warning" if is_ready else "note",
        about=service,
        seen=f"no peer is this pod: compared hostname {heard.own.name}, addresses {addresses}",
        change="POD_NAME and POD_IP by the downward API",
    )


def pd205(world: World) -> Iterator[Result]:
    """Two peers have one ordinal."""
    by_ordinal: dict[int, list[str]] = {}
    for peer in world.heard.peers if world.heard else ():
        if peer.hostname and (ordinal := ordinal_of(peer.hostname)) is not None:
            by_ordinal.setdefault(ordinal, []).append(peer.hostname)
    for ordinal, names in sorted(by_ordinal.items()):
        if len(set(names)) > 1:
            seen = f"ordinal {ordinal} is {' and '.join(sorted(set(names))[:3])}"
            change = "use hostnames in place of ordinals, or a Service for each StatefulSet"
            yield finding_of(world, "PD205", seen, change, warning=True)
            return


CHECKS_OF_PODS = (pd201, pd202, pd203, pd204, pd205)
