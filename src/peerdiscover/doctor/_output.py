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

from peerdiscover._text import printable

from ._codes import CHECKS, Finding, Level
from ._objects import Object
from ._report import Report

__all__ = [
    "Line",
    "as_json",
    "as_sarif",
    "change_of",
    "fragment",
    "full",
    "not_checked",
    "section",
    "summary",
]

WIDTH = 80
MARKS: dict[Level, str] = {"error": "FAIL", "warning": "warn", "note": "note"}
STYLES: dict[Level, str] = {"error": "bold red", "warning": "yellow", "note": "cyan"}
SARIF_LEVELS = {"error": "error", "warning": "warning", "note": "note"}
SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"

Line = tuple[str, str]
"""A style for terminals ("" for none), and the text."""


def section(title: str, aside: str, facts: Sequence[str], findings: Sequence[Finding]) -> Iterator[Line]:
    """What one part of the asking brought: facts, and each finding on a line."""
    yield "bold", f"{title:<22}{printable(aside, 200)}".rstrip()
    for fact in facts:
        yield from (("green", text) for text in _wrapped("  ok    ", fact))
    for finding in findings:
        head = f"  {MARKS[finding.level]:<5} {finding.code}  "
        yield from ((STYLES[finding.level], text) for text in _wrapped(head, finding.seen))


def full(report: Report, *, notes: bool) -> Iterator[Line]:
    """Each finding with its reason and its change; notes only if they are to be shown."""
    for finding in report.sorted():
        if finding.level == "note" and not notes:
            continue
        check = CHECKS[finding.code]
        head = f"{MARKS[finding.level]} {finding.code}  {check.title}"
        about = printable(str(finding.about))
        gap = WIDTH - len(head) - len(about)
        yield "", ""
        yield STYLES[finding.level], f"{head}{' ' * gap}{about}" if gap > 1 else f"{head}\n  {about}"
        where = _where(finding)
        if where is not None and where.file is not None:
            yield "", f"  in      {printable(where.file, 500)}:{where.line}"
        for name, text in ("seen", finding.seen), ("why", check.why):
            yield from (("", line) for line in _wrapped(f"  {name:<7} ", text))
        first, *rest = change_of(finding).splitlines() or [""]
        if isinstance(finding.change, str) and not rest:
            yield from (("", line) for line in _wrapped("  change  ", first))
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
        yield from (("", line) for line in _wrapped("  ", f"{' '.join(one.codes)}: {one.why}"))


def summary(report: Report, seconds: float) -> Iterator[Line]:
    """The last line."""
    counts = ((report.count("error"), "error"), (report.count("warning"), "warning"))
    words = [f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts]
    missing = len({code for one in report.missing for code in one.codes})
    words += [f"{missing} not checked"] * bool(missing) + [f"{len(report.passed)} ok"]
    yield "", ""
    yield "bold", f"{', '.join(words)} in {seconds:.1f} s"


def _wrapped(head: str, text: str) -> list[str]:
    text = printable(text, 2000)
    return textwrap.wrap(
        text, WIDTH, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False
    ) or [head]


def change_of(finding: Finding) -> str:
    """The change: the object's name and the fields to write, a whole object, or a sentence."""
    if isinstance(finding.change, str):
        return finding.change.rstrip()
    body = "\n".join(fragment(finding.change))
    if finding.target is None:
        return body
    return f"{finding.target}\n" + textwrap.indent(body, "  ")


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


def _where(finding: Finding) -> Object | None:
    return finding.about if isinstance(finding.about, Object) else None


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
    where = _where(finding)
    return {
        "code": finding.code,
        "level": finding.level,
        "title": CHECKS[finding.code].title,
        "object": str(finding.about),
        "seen": finding.seen,
        "why": CHECKS[finding.code].why,
        "change": change_of(finding),
        "file": where.file if where else None,
        "line": where.line if where else None,
    }


def as_sarif(report: Report, version: str) -> str:
    """SARIF 2.1.0: findings with file and line, as code hosts show them beside a change."""
    rules = sorted(report.found)
    results = [
        {
            "ruleId": finding.code,
            "ruleIndex": rules.index(finding.code),
            "level": SARIF_LEVELS[finding.level],
            "message": {
                "text": _sarif_text(f"{finding.about}: {finding.seen}. Change:\n{change_of(finding)}")
            },
            "locations": [_location(where)],
        }
        for finding in report.sorted()
        if (where := _where(finding)) is not None
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
