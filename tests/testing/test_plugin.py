"""The pytest plugin, as users' tests meet it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from peerdiscover import Discovery
from peerdiscover.testing import HeadlessService


def test_the_fixture_makes_services(headless_service: Callable[..., HeadlessService]) -> None:
    svc = headless_service("web-headless.prod", replicas=3, ports={"http": 8080})
    other = headless_service("db.prod", replicas=1)
    assert svc.nameserver != other.nameserver
    with Discovery("web-headless.prod:http", source=svc.source) as web:
        assert tuple(web.peers) == svc.peers


def test_it_is_there_by_itself_and_closes_what_it_made(tmp_path: Path) -> None:
    (tmp_path / "test_users.py").write_text(
        """
import threading

made = []

def test_one(headless_service):
    made.append(headless_service("web.prod"))
    assert len(made[0].peers) == 3

def test_all_is_closed():
    assert made[0].peers == ()
    assert threading.active_count() == 1
"""
    )
    # pytest-asyncio, if it is installed, warns about an option that is not set.
    plugins = ["-p", "no:cacheprovider", "-p", "no:asyncio"]
    command = [sys.executable, "-m", "pytest", "-q", *plugins, "-W", "error", "test_users.py"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "2 passed" in run.stdout


def test_loading_it_loads_nothing_else() -> None:
    code = (
        "import sys, pytest; before = set(sys.modules); import peerdiscover.testing.plugin;"
        "print(*sorted(set(sys.modules) - before))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == [
        "peerdiscover",
        "peerdiscover._exports",
        "peerdiscover.testing",
        "peerdiscover.testing.plugin",
    ]


def test_the_service_needs_no_dnspython() -> None:
    code = (
        "import sys; from peerdiscover.testing import HeadlessService;"
        "svc = HeadlessService('web.prod').start(); svc.peers; svc.close();"
        "print([m for m in ('dns', 'httpx', 'tenacity', 'anyio', 'asyncio') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
