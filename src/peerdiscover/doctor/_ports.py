"""Checks of the ports of Services: where they lead. Pure: one function a code.

Invariants:

* What a targetPort means is decided as the endpoint controller does it: for each workload by itself.
* A change of one port shows all ports of the Service, so that it can be applied as it stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ._codes import Finding, NotChecked
from ._objects import Object, Port, Workload, items
from ._world import Result, World

__all__ = ["CHECKS_OF_PORTS"]


def _shown(workloads: list[Workload]) -> str:
    """Their names."""
    return ", ".join(dict.fromkeys(w.name for w in workloads))


def _with_port(service: Object, port: Port, /, **changes: object) -> dict[str, Any]:
    """The patch that changes one port of a Service, and keeps the others."""
    ports = [
        {**one, **changes}
        if (one.get("name") or "", one.get("port")) == (port.name, port.number)
        and str(one.get("protocol") or "TCP") == port.protocol
        else one
        for one in items(service.data, "spec.ports")
    ]
    return {"spec": {"ports": ports}}


def pd106(world: World) -> Iterator[Result]:
    """The name asks for a port that the Service does not have."""
    service, name = world.service, world.name
    if service is None or name is None or name.port is None or not service.is_headless or not service.ports:
        return
    if isinstance(name.port, str):
        has = [port.name for port in service.ports if port.protocol.lower() == name.protocol]
        what, found = (
            f"no port is called {name.port}; the Service calls its ports",
            [one for one in has if one],
        )
    else:
        numbers = {
            n for w in world.objects.selected(service) for p in service.ports if (n := w.port(p)) is not None
        }
        has = [str(number) for number in sorted(numbers)]
        what, found = f"no SRV record has the port {name.port}; they have", has
    if has and str(name.port) not in has:
        yield Finding(
            code="PD106",
            level="error" if isinstance(name.port, str) else "warning",
            about=service,
            seen=f"{what} {', '.join(found) or 'nothing'}",
            change=f"the name: {world.name_with((found or ['PORT'])[0])}",
        )


def pd302(world: World) -> Iterator[Result]:
    """A targetPort's name is in no container."""
    for service in world.services:
        selected, ports = world.objects.selected(service), service.ports
        if len(ports) < len(items(service.data, "spec.ports")):
            why = "a port of it is no number from 1 to 65535, which the API server refuses"
            yield NotChecked(("PD302", "PD303", "PD304"), f"{service}: {why}")
        if not selected:
            yield from _slices_lack(world, service)
            continue
        leads_nowhere = all(w.port(port) is None for port in ports for w in selected)
        for port in ports:
            lacking = [w for w in selected if w.port(port) is None]
            if not lacking:
                continue
            is_asked = (
                world.name is not None and world.name.port == port.name and len(lacking) == len(selected)
            )
            names = sorted({n for w in lacking for n in w.declared(port.protocol).values() if n})
            fitting = [n for w in lacking for number, n in w.declared(port.protocol).items()
                       if n and number == port.number]  # fmt: skip
            change: dict[str, Any] | str = (
                f"a port called {port.target} in the containers of {_shown(lacking)}"
            )
            if len(lacking) == len(selected) and (fitting or len(names) == 1):
                change = _with_port(service, port, targetPort=(fitting or names)[0])
            yield Finding(
                code="PD302",
                level="error" if leads_nowhere or is_asked else "warning",
                about=service,
                seen=f"targetPort {port.target} is in no container of {_shown(lacking)}; they have "
                f"{', '.join(names) or 'no named ports'}",
                change=change,
                target=None if isinstance(change, str) else service,
                also=tuple(w.object for w in lacking),
            )


def _slices_lack(world: World, service: Object) -> Iterator[Result]:
    """A slice lacks a port that another one of its Service has."""
    slices = [
        one for one in world.objects.slices(service.namespace, service.name) if items(one.data, "endpoints")
    ]
    per_slice = [{str(port.get("name") or "") for port in items(one.data, "ports")} for one in slices]
    expected = set().union(*per_slice)
    for one, has in zip(slices, per_slice, strict=True):
        if lacks := expected - has:
            count = len(items(one.data, "endpoints"))
            yield Finding(
                code="PD302",
                level="warning",
                about=service,
                seen=f"{count} pods in EndpointSlice {one.name} lack the port {', '.join(sorted(lacks))}",
                change="a container port of that name in the pods that lack it",
            )
            return


def pd303(world: World) -> Iterator[Result]:
    """`port` differs from the number that targetPort means."""
    for service in world.services:
        for port in service.ports:
            for w in world.objects.selected(service):
                number = w.port(port)
                if number not in (None, port.number):
                    is_declared = port.number in w.declared(port.protocol)
                    changes = (
                        {"targetPort": port.number}
                        if is_declared and number not in w.declared(port.protocol)
                        else {"port": number}
                    )
                    yield Finding(
                        code="PD303",
                        level="warning",
                        about=service,
                        seen=f"port {port.number} means nothing behind a headless Service; "
                        f"DNS gives {number}",
                        change=_with_port(service, port, **changes),
                        target=service,
                        also=(w.object,),
                    )
                    break


def pd304(world: World) -> Iterator[Result]:
    """targetPort is a number that no container declares."""
    for service in world.services:
        for port in service.ports:
            if not isinstance(port.target, int):
                continue
            lacking = [
                w
                for w in world.objects.selected(service)
                if (known := w.declared(port.protocol)) and port.target not in known
            ]
            if lacking:
                declared = [pair for w in lacking for pair in w.declared(port.protocol).items()]
                has = sorted({number for number, _ in declared})
                called = {number for number, name in declared if name and name == port.name}
                change: dict[str, Any] | str = "one of these ports, or declare it if they do listen on it"
                if len(called or has) == 1:
                    (number,) = called or has
                    change = _with_port(service, port, port=number, targetPort=number)
                yield Finding(
                    code="PD304",
                    level="warning",
                    about=service,
                    seen=f"{port.target} is declared by no container of {_shown(lacking)}; they declare "
                    f"{', '.join(map(str, has))}",
                    change=change,
                    target=None if isinstance(change, str) else service,
                    also=tuple(w.object for w in lacking),
                )


def pd305(world: World) -> Iterator[Result]:
    """A headless Service has no ports."""
    for service in world.services:
        if items(service.data, "spec.ports"):
            continue
        selected = world.objects.selected(service)
        is_needed = world.name is not None and any(w.object.kind == "StatefulSet" for w in selected)
        declared = {number: name for w in selected for number, name in w.declared("TCP").items()}
        ports = [{**({"name": name} if name else {}), "port": n} for n, name in declared.items()]
        yield Finding(
            code="PD305",
            level="warning" if is_needed else "note",
            about=service,
            seen="it has no ports, so no SRV records: names and ordinals cannot be discovered",
            change={"spec": {"ports": ports}} if ports else "the ports on which the pods listen",
            target=service if ports else None,
        )


CHECKS_OF_PORTS = (pd106, pd302, pd303, pd304, pd305)
