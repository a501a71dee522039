"""What a report looks like: lines for people, JSON, SARIF 2.1.0. Pure.

Invariants:

* Marks are words, so they survive pipes and eyes that see no red. A line has a style for terminals.
* JSON has the same keys always. What others wrote is made printable in lines; JSON escapes by itself.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from peerdiscover._text import counted, printable

from ._codes import CHECKS, Finding, Level
from ._object import Object
from ._objects import Objects
from ._report import Report

WIDTH = 80
MARKS: dict[Level, str] = {"error": "FAIL", "warning": "warn", "note": "note"}
STYLES: dict[Level, str] = {"error": "bold red", "warning": "yellow", "note": "cyan"}
SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"

Line = tuple[str, str]
"""A style for terminals ("" for none), and the text."""


def overview(objects: Objects, files: int, checks: int) -> Iterator[Line]:
    """The first line of what is said about files."""
    services = objects.headless()
    unready = sum(service.lists_unready for service in services)
    words = f"{counted(len(services), 'headless Service')} "
    if unready:  # PD307 is about what a name is asked for: in files this is no mistake
        words += f"({unready} {'lists' if unready == 1 else 'list'} pods that are not ready) "
    words += f"and {counted(len(objects.workloads()), 'workload')} in {counted(files, 'file')}, "
    yield from _wrapped("", f"{words}{checks} checks")


def section(title: str, aside: str, facts: Sequence[str], findings: Sequence[Finding]) -> Iterator[Line]:
    """What one part of the asking brought: facts, and each finding on a line."""
    yield "bold", f"{title:<22}{printable(aside, 200)}".rstrip()
    for fact in facts:
        yield from _wrapped("  ok    ", fact, "green")
    for finding in findings:
        yield from _wrapped(
            f"  {MARKS[finding.level]:<5} {finding.code}  ", finding.seen, STYLES[finding.level]
        )


def full(report: Report) -> Iterator[Line]:
    """Each finding with its reason and its change."""
    for finding in report.sorted():
        check = CHECKS[finding.code]
        head = f"{MARKS[finding.level]} {finding.code}  {check.title}"
        about = printable(str(finding.about))
        gap = WIDTH - len(head) - len(about)
        yield "", ""
        yield STYLES[finding.level], f"{head}{' ' * gap}{about}" if gap > 1 else f"{head}\n  {about}"
        if isinstance(finding.about, Object) and finding.about.file is not None:
            yield "", f"  in      {printable(finding.about.file, 500)}:{finding.about.line}"
        yield from _wrapped("  seen    ", finding.seen)
        yield from _wrapped("  why     ", check.why)
        first, *rest = change_of(finding).splitlines() or [""]
        if isinstance(finding.change, str) and not rest:
            yield from _wrapped("  change  ", first)
        else:
            yield "", f"  change  {printable(first, 500)}"
            yield from (("", f"          {printable(line, 500)}") for line in rest)
        yield "dim", f"  more    peerdiscover doctor --explain {finding.code}"


def not_checked(report: Report) -> Iterator[Line]:
    """What could not be looked at, and why."""
    if report.missing:
        yield "", ""
        yield "bold", "Not checked"
    for one in report.missing:
        yield from _wrapped("  ", f"{' '.join(one.codes)}: {one.why}")


def summary(report: Report, seconds: float) -> Iterator[Line]:
    """The last line."""
    words = [counted(report.count(level), level) for level in ("error", "warning")]
    missing = len(report.missing_codes)
    words += [f"{missing} not checked"] * bool(missing) + [f"{len(report.passed)} ok"]
    yield "", ""
    yield "bold", f"{', '.join(words)} in {seconds:.1f} s"


def _wrapped(head: str, text: str, style: str = "") -> Iterator[Line]:
    indent = " " * len(head)
    lines = textwrap.wrap(printable(text, 2000), WIDTH - len(indent), break_on_hyphens=False) or [""]
    return ((style, start + line) for start, line in zip((head, *[indent] * len(lines)), lines, strict=False))


def change_of(finding: Finding) -> str:
    """The change: the object's name and the fields to write, a whole object, or a sentence."""
    if isinstance(finding.change, str):
        return finding.change.rstrip()
    body = "\n".join(fragment(finding.change))
    return f"{finding.target}\n" + textwrap.indent(body, "  ") if finding.target else body


def fragment(value: object, indent: str = "") -> Iterator[str]:
    """A value as YAML, one line after the other. Strings are quoted as JSON does it if they need it."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            if isinstance(one, Mapping | list) and one:
                yield f"{indent}{_scalar(key)}:"
                yield from fragment(one, indent + "  ")
            else:
                yield f"{indent}{_scalar(key)}: {_scalar(one)}"
    elif isinstance(value, list):
        for one in value:
            first, *rest = list(fragment(one)) or ["{}"]
            yield f"{indent}- {first}"
            yield from (f"{indent}  {line}" for line in rest)
    else:
        yield f"{indent}{_scalar(value)}"


_WORDS = {"null", "true", "false", "yes", "no", "on", "off", "~", "y", "n", ""}


def _scalar(value: object) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    plain = value.lower() not in _WORDS and value[0].isalpha()
    plain = plain and all(c.isalnum() or c in "-_./" for c in value)
    return value if plain else json.dumps(value)


def as_json(report: Report, name: str | None, asked_from: str | None) -> str:
    """The JSON object of `-o json`."""
    return json.dumps(
        {
            "name": name,
            "asked_from": asked_from,
            "findings": [_finding(one) for one in report.sorted()],
            "not_checked": [{"codes": list(one.codes), "why": one.why} for one in report.missing],
            "passed": report.passed,
        },
        indent=2,
    )


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "code": finding.code,
        "level": finding.level,
        "title": CHECKS[finding.code].title,
        "object": str(finding.about),
        "seen": finding.seen,
        "why": CHECKS[finding.code].why,
        "change": change_of(finding),
        "file": getattr(finding.about, "file", None),
        "line": getattr(finding.about, "line", None),
    }


def as_sarif(report: Report, version: str) -> str:
    """SARIF 2.1.0: findings with file and line, as code hosts show them beside a change."""
    rules = sorted({finding.code for finding in report.sorted()})
    results = [
        {
            "ruleId": finding.code,
            "ruleIndex": rules.index(finding.code),
            "level": finding.level,
            "message": {
                "text": _sarif_text(f"{finding.about}: {finding.seen}. Change:\n{change_of(finding)}")
            },
            "locations": [_location(where)],
        }
        for finding in report.sorted()
        if isinstance(where := finding.about, Object)
    ]
    described = [
        {
            "id": code,
            "name": code,
            "shortDescription": {"text": CHECKS[code].title},
            "fullDescription": {"text": CHECKS[code].why},
            "help": {"text": CHECKS[code].change},
        }
        for code in rules
    ]
    driver = {"name": "peerdiscover doctor", "version": version, "rules": described}
    run = {"tool": {"driver": driver}, "results": results, "columnKind": "unicodeCodePoints"}
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _sarif_text(text: str) -> str:
    """A message, in which a single brace would begin a placeholder (SARIF 2.1.0, 3.11.5)."""
    return text.replace("{", "{{").replace("}", "}}")


def _location(where: Object) -> dict[str, Any]:
    path = Path(where.file or "stdin")
    uri = path.as_uri() if path.is_absolute() else quote(path.as_posix())
    place = {"artifactLocation": {"uri": uri}}
    region = {"region": {"startLine": where.line or 1}}
    return {
        "physicalLocation": {**place, **region},
        "logicalLocations": [{"fullyQualifiedName": str(where), "kind": "resource"}],
    }
