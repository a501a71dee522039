"""`peerdiscover doctor`: files or a name, the checks, and what comes out.

Invariants:

* Sections are printed as they are known, then each finding in full, errors first.
* The exit status: 0 no error; 1 an error (with --strict: a warning, or something not checked); 2 usage or a
  file that cannot be read; 3 nothing could be asked.
"""

from __future__ import annotations

import os
import time
from argparse import Namespace
from collections.abc import Iterable

from peerdiscover._text import printable, quoted
from peerdiscover.doctor import _output, _reading
from peerdiscover.doctor._codes import CHECKS, page
from peerdiscover.doctor._objects import Objects
from peerdiscover.doctor._report import Report, of_manifests
from peerdiscover.doctor._world import World
from peerdiscover.errors import ConfigurationError
from peerdiscover.names import ServiceName
from peerdiscover.sources._server import Server
from peerdiscover.sources.environment import Environment, checked_namespace

from . import FOUND, NO_ANSWER, NO_PEERS
from ._output import terminal

__all__ = ["run"]

SECONDS = 15.0


def run(arguments: Namespace) -> int:
    """Run the command and return its exit status."""
    if arguments.explain:
        print(page(_codes(arguments.explain)[0]), end="")
        return FOUND
    report = Report(_codes(arguments.ignore or ""))
    namespace = arguments.namespace and checked_namespace(arguments.namespace, "--namespace ")
    if arguments.name and not arguments.files and arguments.name.endswith((".yaml", ".yml", ".json")):
        raise ConfigurationError(
            f"{quoted(arguments.name)}: a file; write doctor -f {printable(arguments.name)}"
        )
    name = ServiceName.parse(arguments.name) if arguments.name else None
    if name is not None and (name.scheme == "static" or name.is_external):
        raise ConfigurationError(f"{quoted(str(name))}: doctor is for Services of a cluster")
    if arguments.files:
        return _files(arguments, report, name, namespace)
    if arguments.output == "sarif":
        raise ConfigurationError("-o sarif is for -f: it shows files and lines")
    if name is None:
        raise ConfigurationError("doctor: expected a NAME, such as web-headless.prod:8080, or -f PATH")
    return _asked(arguments, report, name, namespace)


def _files(arguments: Namespace, report: Report, name: ServiceName | None, namespace: str | None) -> int:
    began = time.monotonic()
    found = _reading.read(arguments.files)
    objects = Objects.of(found, namespace)
    world = World(objects, name, _home(objects, name, namespace))
    if name is not None and world.service is None and not objects.slices(world.namespace, name.service):
        services = objects.of_kind("Service")[:10]
        has = ", ".join(f"{one.name}.{one.namespace}" for one in services) or "none"
        raise ConfigurationError(f"{quoted(str(name))}: these files have no such Service; they have {has}")
    of_manifests(report, world)
    if arguments.output == "text":
        files = len({file for _, file, _ in found})
        _print(_output.overview(objects, files, len(report.checked)))
    return _end(arguments, report, str(name) if name else None, None, began)


def _asked(arguments: Namespace, report: Report, name: ServiceName, namespace: str | None) -> int:
    from peerdiscover.doctor._asking import Asking  # loads the API's client

    began = time.monotonic()
    given = {
        "PEERDISCOVER_NAMESPACE": namespace,
        "PEERDISCOVER_CLUSTER_DOMAIN": arguments.cluster_domain,
    }
    environment = Environment(environ={**os.environ, **{key: value for key, value in given.items() if value}})
    servers = [Server.parse(text) for text in arguments.nameserver] if arguments.nameserver else None
    seconds = arguments.timeout or SECONDS
    asking = Asking(name, environment, servers, seconds, not arguments.no_connect, report)
    is_text = arguments.output == "text"
    if is_text:
        _print([("bold", f"{printable(str(name))}, asked from {asking.asked_from}"), ("", "")])
    for section in asking.sections():
        if is_text:
            _print(_output.section(section.title, section.aside, section.facts, section.findings))
    status = _end(arguments, report, str(name), asking.asked_from, began)
    return NO_ANSWER if asking.heard_nothing else status


def _home(objects: Objects, name: ServiceName | None, namespace: str | None) -> str:
    """The namespace of the name: its own, the one given, or the only one with such a Service."""
    if name is None:
        return namespace or ""
    there = {one.namespace for one in objects.of_kind("Service") if one.name == name.service}
    return name.namespace or namespace or (there.pop() if len(there) == 1 else "")


def _end(arguments: Namespace, report: Report, name: str | None, asked_from: str | None, began: float) -> int:
    """Print what was found, and return the exit status."""
    if arguments.output == "json":
        print(_output.as_json(report, name, asked_from))
    elif arguments.output == "sarif":
        from importlib.metadata import version  # slow

        print(_output.as_sarif(report, version("peerdiscover")))
    else:
        notes = arguments.all or name is not None
        _print(_output.not_checked(report))
        _print(_output.full(report, notes=notes))
        _print(_output.summary(report, time.monotonic() - began))
    fails = report.count("error") or (arguments.strict and (report.count("warning") or report.missing))
    return NO_PEERS if fails else FOUND


def _print(lines: Iterable[_output.Line]) -> None:
    """Print lines: in their styles on a terminal, if `rich` is installed."""
    console = terminal()
    if console is None:
        for _, line in lines:
            print(line, flush=True)
        return
    from rich.text import Text  # only for terminals

    for style, line in lines:
        console.print(Text(line, style=style), soft_wrap=True)


def _codes(text: str) -> tuple[str, ...]:
    """The codes that were written; `ConfigurationError` for what is none."""
    codes = tuple(word.upper() for word in text.replace(",", " ").split())
    for code in codes:
        if code not in CHECKS:
            raise ConfigurationError(
                f"{quoted(code)}: no such check; they are PD101 to PD501, see docs/doctor.md"
            )
    return codes
