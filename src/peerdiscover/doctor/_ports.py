"""Checks of the ports of Services: where they lead. Pure: one function a code.

Invariants:

* What a targetPort means is decided as the endpoint controller does it: for each workload by itself.
* A change shows all ports of the Service, with each of them mended, so that it can be applied as it stands,
  and one change does not undo another.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from peerdiscover._text import counted

from ._codes import Finding, Level, NotChecked
from ._object import Object, Port, items
from ._world import Result, World

Change = dict[str, Any] | str


def _names(workloads: list[Object]) -> str:
    return ", ".join(dict.fromkeys(w.name for w in workloads))


def _change(service: Object, selected: list[Object], port: Port, words: str) -> Change:
    """The patch that mends each port as far as it is known how; these words if it is not for this one."""
    mended = {one.place: _mended(selected, one) for one in service.ports}
    ports = [{**one, **mended.get(place, {})} for place, one in enumerate(service.items("spec.ports"))]
    taken = {(str(one.get("protocol") or "TCP"), str(one.get("port"))) for one in ports}
    if mended[port.place] and len(taken) < len(ports):
        return "leave one of the ports out: two lead to the same number"
    return {"spec": {"ports": ports}} if mended[port.place] else words


def _mended(selected: list[Object], port: Port) -> dict[str, object]:
    """What to write into a port; nothing if it is right, or if that would be a guess."""
    containers = [container for w in selected for container in w.containers]
    declared = {pair for w in selected for pair in w.declared(port.protocol).items()}
    numbers = {number for w in selected if (number := w.port(port)) is not None}
    if isinstance(port.target, str) and not numbers:
        if port.target.isdecimal() and len(port.target) < 6:
            number = int(port.target)
            return {"port": number, "targetPort": number} | _mended(selected, port._replace(target=number))
        named = {pair for pair in declared if pair[1]}
        fitting = {pair for pair in named if pair[0] == port.number} or named
        return {"port": (pair := fitting.pop())[0], "targetPort": pair[1]} if len(fitting) == 1 else {}
    if isinstance(port.target, int) and declared and port.target not in dict(declared):
        has = {number for number, _ in declared}
        same = {number for number, name in declared if name and name == port.name} or has & {port.number}
        if not same and all(items(container, "ports") for container in containers):
            same = has  # else it may be one that declares none that listens there
        return dict.fromkeys(("port", "targetPort"), same.pop()) if len(same) == 1 else {}
    return {"port": numbers.pop()} if len(numbers) == 1 and numbers != {port.number} else {}


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
    if world.name is not None and world.service is None:
        yield from _slices_lack(world, world.namespace, world.name.service, world.about)
    for service in world.services:
        selected, ports = world.objects.selected(service), service.ports
        if len(ports) < len(service.items("spec.ports")):
            why = "a port of it is no number from 1 to 65535, which the API server refuses"
            yield NotChecked(("PD302", "PD303", "PD304"), why, service)
        if all(w.port(port) is not None for w in selected for port in ports):
            yield from _slices_lack(world, service.namespace, service.name, service)
            continue
        lacking_by_port = [(port, [w for w in selected if w.port(port) is None]) for port in ports]
        leads_nowhere = all(len(lacking) == len(selected) for _, lacking in lacking_by_port)
        for port, lacking in lacking_by_port:
            if not lacking:
                continue
            names = sorted({name for w in lacking for name in w.declared(port.protocol).values() if name})
            words = f"a {port.protocol} port called {port.target} in {_names(lacking)}"
            change: Change = words
            is_error = leads_nowhere
            if len(lacking) == len(selected):
                is_error |= world.name is not None and world.name.port == port.name
                change = _change(service, selected, port, words)
            text = " (a string)" if str(port.target).isdecimal() else ""
            seen = f"targetPort {port.target}{text} is in no container of {_names(lacking)}; they have "
            seen += ", ".join(names) or f"no named {port.protocol} ports"
            level: Level = "error" if is_error else "warning"
            yield Finding("PD302", level, service, seen, change, service, tuple(lacking))


def _slices_lack(world: World, namespace: str, name: str, about: Object | str) -> Iterator[Result]:
    """A slice lacks a port that another one of its Service has."""
    slices = [one for one in world.objects.slices(namespace, name) if one.items("endpoints")]
    per_slice = [{str(port.get("name") or "") for port in one.items("ports")} for one in slices]
    expected = set().union(*per_slice)
    for one, has in zip(slices, per_slice, strict=True):
        if lacks := expected - has:
            count = counted(len(one.items("endpoints")), "pod")
            seen = f"EndpointSlice {one.name}, of {count}, lacks the port {', '.join(sorted(lacks))}".rstrip()
            change = "a container port of that name in the pods that lack it"
            yield Finding("PD302", "warning", about, seen, change)
            return


def pd303(world: World) -> Iterator[Result]:
    for service in world.services:
        selected = world.objects.selected(service)
        for port in service.ports:
            numbers = {w: number for w in selected if (number := w.port(port)) is not None}
            if others := tuple(w for w, number in numbers.items() if number != port.number):
                gives = ", ".join(map(str, sorted(set(numbers.values()))))
                seen = f"port {port.number} means nothing behind a headless Service; DNS gives {gives}"
                words = "the number on which the pods listen: one for `port`, targetPort and all containers"
                change = _change(service, selected, port, words)
                yield Finding("PD303", "warning", service, seen, change, service, others)


def pd304(world: World) -> Iterator[Result]:
    for service in world.services:
        selected = world.objects.selected(service)
        for port in service.ports:
            if not isinstance(port.target, int):
                continue
            declared = {w: ports for w in selected if (ports := w.declared(port.protocol))}
            lacking = [w for w, ports in declared.items() if port.target not in ports]
            if not lacking:
                continue
            has = sorted({number for w in lacking for number in declared[w]})
            words = "one of these ports, or declare it if they do listen on it"
            is_all = len(lacking) == len(declared)
            change = _change(service, selected, port, words) if is_all else words
            seen = f"{port.target} is declared by no container of {_names(lacking)}; they declare "
            seen += ", ".join(map(str, has))
            yield Finding("PD304", "warning", service, seen, change, service, tuple(lacking))


def pd305(world: World) -> Iterator[Result]:
    for service in world.services:
        if service.items("spec.ports"):
            continue
        selected = world.objects.selected(service)
        is_needed = world.name is not None and any(w.kind == "StatefulSet" for w in selected)
        declared = [set(w.declared("TCP").items()) for w in selected]
        shared = sorted(set.intersection(*declared)) if declared else []
        named = {name or f"tcp-{number}": number for number, name in shared}  # of several each needs a name
        ports = [{"name": name, "port": number} for name, number in named.items()]
        seen = "it has no ports, so no SRV records: names and ordinals cannot be discovered"
        change: Change = {"spec": {"ports": ports}} if ports else "the ports on which the pods listen"
        yield Finding("PD305", "warning" if is_needed else "note", service, seen, change, service)


CHECKS_OF_PORTS = (pd106, pd302, pd303, pd304, pd305)
