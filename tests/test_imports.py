"""What importing loads, and what waits until it is used. What it costs is measured by tests/bench."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.metadata import requires

import pytest

LIBRARIES = {"anyio", "asyncio", "dns", "httpcore", "httpx", "httpx2", "socket", "ssl", "tenacity", "yaml"}
IMPORTED = {"_exports"}
WITH_DISCOVERY = {
    "_exports", "_forks", "_host_ports", "_labels", "_text", "answers", "discovery", "discovery._base",
    "discovery._changes",
    "discovery._picker_mixin",
    "discovery._pickers", "discovery._publisher", "discovery._refresher", "discovery._threads",
    "discovery._user_code",
    "discovery.sync", "errors", "identity", "names", "peers",
    "pickers",
    "pickers._base", "pickers._candidates", "pickers._turns", "policy", "sources", "sources._calling",
    "sources._failures",
}  # fmt: skip
CORE = {
    "membership", "membership.core", "membership.evidence", "membership.explaining", "membership.health",
    "membership.journal",
    "membership.members", "membership.reconciler", "membership.schedule", "membership.status",
    "membership.watch_state",
}  # fmt: skip


@pytest.mark.parametrize(
    ("program", "modules"),
    [
        ("import peerdiscover", IMPORTED),
        ("from peerdiscover import Discovery", WITH_DISCOVERY),
        (
            "from peerdiscover import Discovery; Discovery('static:10.0.0.1:80')",
            {*WITH_DISCOVERY, *CORE, "sources.static"},
        ),
    ],
)
def test_what_is_loaded_and_nothing_else(program: str, modules: set[str]) -> None:
    code = f"import sys; before = set(sys.modules); {program}; print(*set(sys.modules) - before)"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True
    )
    names = [name.split(".") for name in done.stdout.split()]
    assert {first for first, *_ in names} & LIBRARIES == set()
    assert {".".join(rest) for first, *rest in names if first == "peerdiscover" and rest} == modules


@pytest.mark.parametrize("adapter", ["requests", "aiohttp", "grpc"])
def test_an_adapter_loads_its_library_alone(adapter: str) -> None:
    code = f"import sys, peerdiscover.{adapter}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, timeout=60, capture_output=True, text=True
    )
    assert {"requests", "aiohttp", "httpx", "httpx2", "httpcore", "grpc"} & set(done.stdout.split()) == {
        adapter
    }


@pytest.mark.parametrize("adapter", ["requests", "aiohttp", "grpc"])
def test_an_adapter_says_which_package_is_missing(adapter: str) -> None:
    code = f"import sys; sys.modules[{adapter!r}] = None; import peerdiscover.{adapter}"
    done = subprocess.run([sys.executable, "-c", code], timeout=60, capture_output=True, text=True)
    last = done.stderr.splitlines()[-1]
    package = {"grpc": "grpcio"}.get(adapter, adapter)
    assert last.endswith(f"peerdiscover.{adapter} needs {package}: pip install 'peerdiscover[{adapter}]'")


OLDER = [  # each just older than the oldest that pyproject.toml names
    ("requests", "requests", "requests", "2.32.2"),
    ("requests", "urllib3", "urllib3", "2.1.0"),
    ("aiohttp", "aiohttp", "aiohttp", "3.12.6"),
    ("grpc", "grpcio", "grpc", "1.67.1"),
]


@pytest.mark.parametrize(("adapter", "package", "module", "older"), OLDER)
def test_an_adapter_says_which_package_is_too_old(
    adapter: str, package: str, module: str, older: str
) -> None:
    code = f"import {module}; {module}.__version__ = {older!r}; import peerdiscover.{adapter}"
    done = subprocess.run([sys.executable, "-c", code], timeout=60, capture_output=True, text=True)
    wanted = next(
        found[1]
        for line in requires("peerdiscover") or []
        if (found := re.match(rf"{package}>=([0-9.]+)", line)) and f"extra == '{adapter}'" in line
    )
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: peerdiscover.{adapter} needs {package} {wanted} or newer, and this is {older}: "
        f"pip install 'peerdiscover[{adapter}]'"
    )
