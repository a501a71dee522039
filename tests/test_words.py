"""Words that do not come back to src, docs and examples: each has a plainer one, or the field's own.

CONTRIBUTING.md says what to write. A name in code that ends up here is found as well: it is read, too.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
READ = ("src", "docs", "examples", "README.md", "CHANGELOG.md", "CONTRIBUTING.md")

INSTEAD = {
    "somebody|nobody|everybody|whoever": "a peer, no peers, all pods, the caller",
    "oneself|the own": "self, this pod, its own",
    "fates?": "outcome",
    "mute": "inconclusive",
    "in vain": "without success",
    "rooms?|the house": "module, architecture",
    "(?<!math[.])floors?": "layer",
    "(?<!file[.])tells?|told": "returns, reports, knows, says",
    "under way": "in flight, pending",
    "is over": "has ended, has expired",
    "a text": "a string",
    "last words": "the last answer",
    "dial|dials|dialled|dialling|dialler": "connect",
    "surroundings": "environment",
    "on trial|trials?": "half-open, probe",
    "rolls": "rolling restarts",
    "(?:is|are) wanted": "expected",
}


def files() -> list[Path]:
    return sorted(
        path
        for name in READ
        for path in ((ROOT / name).rglob("*") if (ROOT / name).is_dir() else [ROOT / name])
        if path.suffix in {".py", ".md", ".yaml"}
    )


@pytest.mark.parametrize("words", INSTEAD)
def test_does_not_come_back(words: str) -> None:
    pattern = re.compile(rf"\b(?:{words})\b", re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, f"write {INSTEAD[words]}:\n" + "\n".join(found)
