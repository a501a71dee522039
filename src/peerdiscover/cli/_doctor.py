"""`peerdiscover doctor`: files or a name, the checks, and what comes out.

Invariants:

* Sections are printed as they are known, then each finding in full, errors first.
* The exit status: 0 no error; 1 an error (with --strict: a warning, or something not checked); 2 usage or a
  file that cannot be read; 3 nothing could be asked.
"""

from __future__ import annotations

import time
from argparse import Namespace

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
from ._arguments import environ_with
from ._output import show

__all__ = ["run"]

SECONDS = 15.0


def run(arguments: Namespace) -> int:
    """Run the command and return its exit status."""
    if arguments.explain is not None:
        print(page(_code(arguments.explain)), end="")
        return FOUND
    namespace = arguments.namespace and checked_namespace(arguments.namespace, "--namespace ")
    files = [word for word in arguments.name if word.endswith((*_reading.SUFFIXES, "/"))]
    if files and not arguments.files:
        raise ConfigurationError(f"{quoted(files[0])}: a file; write doctor -f {printable(files[0])}")
    names = [word for word in arguments.name if word not in files]
    if len(names) > 1:
        raise ConfigurationError(f"doctor: expected one NAME, got {printable(' '.join(names))}")
    name = ServiceName.parse(names[0]) if names else None
    ignored = [_code(word) for word in (arguments.ignore or "").replace(",", " ").split()]
    report = Report(ignored, notes=arguments.all or name is not None)
    if name is not None and (name.scheme == "static" or name.is_external):
        raise ConfigurationError(f"{quoted(str(name))}: doctor is for Services of a cluster")
    if arguments.files:
        arguments.files += files  # a shell writes several behind one -f
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
        show(_output.overview(objects, files, len(report.checked)))
    return _end(arguments, report, str(name) if name else None, None, began)


def _asked(arguments: Namespace, report: Report, name: ServiceName, namespace: str | None) -> int:
    from peerdiscover.doctor._asking import Asking  # loads the API's client

    began = time.monotonic()
    environment = Environment(environ=environ_with(namespace, arguments.cluster_domain))
    servers = [Server.parse(text) for text in arguments.nameserver] if arguments.nameserver else None
    seconds = arguments.timeout or SECONDS
    asking = Asking(name, environment, servers, seconds, not arguments.no_connect, report)
    is_text = arguments.output == "text"
    if is_text:
        show([("bold", f"{printable(str(name))}, asked from {asking.asked_from}"), ("", "")])
    for section in asking.sections():
        if is_text:
            show(_output.section(section.title, section.aside, section.facts, section.findings))
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
        show(_output.not_checked(report))
        show(_output.full(report))
        show(_output.summary(report, time.monotonic() - began))
    fails = report.count("error") or (arguments.strict and (report.count("warning") or report.missing))
    return NO_PEERS if fails else FOUND


def _code(text: str) -> str:
    """The code that was written; `ConfigurationError` for what is none."""
    code = text.strip().upper()
    if code not in CHECKS:
        raise ConfigurationError(
            f"{quoted(text)}: no such check; they are PD101 to PD501, see docs/doctor.md"
        )
    return code
