"""Checks of the ports of Services: where they lead. Pure: one function a code.

Invariants:

* What a targetPort means is decided as the endpoint controller does it: for each workload by itself.
* A change of one port shows all ports of the Service, so that it can be applied as it stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ._codes import Finding, Level, NotChecked
from ._object import Object, Port
from ._world import Result, World

Change = dict[str, Any] | str


def _names(workloads: list[Object]) -> str:
    return ", ".join(dict.fromkeys(w.name for w in workloads))


def _with_port(service: Object, port: Port, /, **changes: object) -> dict[str, Any]:
    """The patch that changes one port of a Service, and keeps the others."""
    ports = [
        {**one, **changes}
        if (one.get("name") or "", one.get("port")) == (port.name, port.number)
        and str(one.get("protocol") or "TCP") == port.protocol
        else one
        for one in service.items("spec.ports")
    ]
    return {"spec": {"ports": ports}}


def pd106(world: World) -> Iterator[Result]:
    service, name = world.service, world.name
    if service is None or name is None or name.port is None or not service.is_headless or not service.ports:
        return
    is_named = isinstance(name.port, str)
    if is_named:
        has = [port.name for port in service.ports if port.protocol.lower() == name.protocol]
        what, found = (
            f"no port is called {name.port}; the Service calls its ports",
            [one for one in has if one],
        )
    else:
        numbers = {w.port(port) for w in world.objects.selected(service) for port in service.ports}
        has = found = [str(number) for number in sorted(number for number in numbers if number is not None)]
        what = f"no SRV record has the port {name.port}; they have"
    if has and str(name.port) not in has:
        change = f"the name: {world.name_with((found or ['PORT'])[0])}"
        seen = f"{what} {', '.join(found) or 'nothing'}"
        yield Finding("PD106", "error" if is_named else "warning", service, seen, change)


def pd302(world: World) -> Iterator[Result]:
    for service in world.services:
        selected, ports = world.objects.selected(service), service.ports
        if len(ports) < len(service.items("spec.ports")):
            why = "a port of it is no number from 1 to 65535, which the API server refuses"
            yield NotChecked(("PD302", "PD303", "PD304"), f"{service}: {why}")
        if not selected:
            yield from _slices_lack(world, service)
            continue
        lacking_by_port = [(port, [w for w in selected if w.port(port) is None]) for port in ports]
        leads_nowhere = all(len(lacking) == len(selected) for _, lacking in lacking_by_port)
        for port, lacking in lacking_by_port:
            if not lacking:
                continue
            declared = [pair for w in lacking for pair in w.declared(port.protocol).items() if pair[1]]
            names = sorted({name for _, name in declared})
            fitting = [name for number, name in declared if number == port.number]
            change: Change = f"a port called {port.target} in the containers of {_names(lacking)}"
            is_error = leads_nowhere
            if len(lacking) == len(selected):
                is_error |= world.name is not None and world.name.port == port.name
                if fitting or len(names) == 1:
                    change = _with_port(service, port, targetPort=(fitting or names)[0])
            seen = f"targetPort {port.target} is in no container of {_names(lacking)}; they have "
            seen += ", ".join(names) or "no named ports"
            level: Level = "error" if is_error else "warning"
            yield Finding("PD302", level, service, seen, change, service, tuple(lacking))


def _slices_lack(world: World, service: Object) -> Iterator[Result]:
    """A slice lacks a port that another one of its Service has."""
    slices = [one for one in world.objects.slices(service.namespace, service.name) if one.items("endpoints")]
    per_slice = [{str(port.get("name") or "") for port in one.items("ports")} for one in slices]
    expected = set().union(*per_slice)
    for one, has in zip(slices, per_slice, strict=True):
        if lacks := expected - has:
            count = len(one.items("endpoints"))
            seen = f"{count} pods in EndpointSlice {one.name} lack the port {', '.join(sorted(lacks))}"
            change = "a container port of that name in the pods that lack it"
            yield Finding("PD302", "warning", service, seen, change)
            return


def pd303(world: World) -> Iterator[Result]:
    for service in world.services:
        for port in service.ports:
            for w in world.objects.selected(service):
                number, declared = w.port(port), w.declared(port.protocol)
                if number in (None, port.number):
                    continue
                is_declared = port.number in declared and number not in declared
                changes = {"targetPort": port.number} if is_declared else {"port": number}
                seen = f"port {port.number} means nothing behind a headless Service; DNS gives {number}"
                change = _with_port(service, port, **changes)
                yield Finding("PD303", "warning", service, seen, change, service, (w,))
                break


def pd304(world: World) -> Iterator[Result]:
    for service in world.services:
        for port in service.ports:
            if not isinstance(port.target, int):
                continue
            declared = {w: w.declared(port.protocol) for w in world.objects.selected(service)}
            lacking = {w: ports for w, ports in declared.items() if ports and port.target not in ports}
            if not lacking:
                continue
            pairs = [pair for ports in lacking.values() for pair in ports.items()]
            has = {number for number, _ in pairs}
            fitting = {number for number, name in pairs if name and name == port.name} or has
            change: Change = "one of these ports, or declare it if they do listen on it"
            if len(fitting) == 1:
                (number,) = fitting
                change = _with_port(service, port, port=number, targetPort=number)
            seen = f"{port.target} is declared by no container of {_names([*lacking])}; they declare "
            seen += ", ".join(map(str, sorted(has)))
            yield Finding("PD304", "warning", service, seen, change, service, tuple(lacking))


def pd305(world: World) -> Iterator[Result]:
    for service in world.services:
        if service.items("spec.ports"):
            continue
        selected = world.objects.selected(service)
        is_needed = world.name is not None and any(w.kind == "StatefulSet" for w in selected)
        declared = {number: name for w in selected for number, name in w.declared("TCP").items()}
        ports = [{**({"name": name} if name else {}), "port": number} for number, name in declared.items()]
        seen = "it has no ports, so no SRV records: names and ordinals cannot be discovered"
        change: Change = {"spec": {"ports": ports}} if ports else "the ports on which the pods listen"
        yield Finding("PD305", "warning" if is_needed else "note", service, seen, change, service)


CHECKS_OF_PORTS = (pd106, pd302, pd303, pd304, pd305)
