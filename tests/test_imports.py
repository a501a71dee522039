"""What importing loads, and what waits until it is used. What it costs is measured by tests/bench."""

from __future__ import annotations

import subprocess
import sys

import pytest

LIBRARIES = {"anyio", "asyncio", "dns", "httpcore", "httpx", "httpx2", "socket", "ssl", "tenacity", "yaml"}
WITH_DISCOVERY = {
    "_in_threads", "_processes", "answers", "discovery", "errors", "names", "peers", "pickers", "picking",
    "policy", "reading", "sources", "surface",
}  # fmt: skip


@pytest.mark.parametrize(
    ("program", "rooms"),
    [
        ("import peerdiscover", set()),
        ("from peerdiscover import Discovery", WITH_DISCOVERY),
        (
            "from peerdiscover import Discovery; Discovery('static:10.0.0.1:80')",
            {*WITH_DISCOVERY, "membership"},
        ),
    ],
)
def test_what_is_loaded_and_nothing_else(program: str, rooms: set[str]) -> None:
    code = f"import sys; before = set(sys.modules); {program}; print(*set(sys.modules) - before)"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True
    )
    names = [name.split(".") for name in done.stdout.split()]
    assert {first for first, *_ in names} & LIBRARIES == set()
    assert {rest[0] for first, *rest in names if first == "peerdiscover" and rest} == rooms
