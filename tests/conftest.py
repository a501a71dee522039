"""What all tests share: the event loops, and a guard against what a test leaves behind."""

from __future__ import annotations

import gc
import logging
import os
import signal
import stat
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from .tools.cluster.fixtures import (  # noqa: F401  fixtures of all folders: there is one cluster a session
    cluster,
    deployment,
    namespace,
    own_cluster,
    shared_cluster,
    statefulset,
)
from .waiting import LONG

# Threads that a library keeps for reuse, by the beginning of their names.
_KEPT_THREADS = ("Trio thread",)

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # So it is for what a shell script starts with `&`; programs that the tests interrupt would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Hypothesis would fail an example that takes longer than 200 ms, or a strategy that is slow to draw: that
# says how fast the machine is.
settings.register_profile(
    "any machine", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Tests marked `anyio` run on both event loops."""
    backend: str = request.param
    return backend


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test that leaves a thread or a file descriptor behind, or keeps the library's log from others.

    What ends a moment after the test has its time to do so: the machine may be busy.
    """
    threads, descriptors = _threads(), _descriptors()
    terminate = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, terminate)  # the command has one that would keep the run from its end
    assert logging.getLogger("peerdiscover").propagate, "no later test would see the log"
    if request.node.get_closest_marker("may_leak"):
        return
    deadline = time.monotonic() + LONG
    while left := _left(threads, descriptors):
        gc.collect()  # an object in a cycle closes its socket here, and warns
        if time.monotonic() > deadline:
            pytest.fail("left behind: " + "; ".join(left), pytrace=False)
        time.sleep(0.01)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for each reason to skip: pytest's own has one for each test."""
    reports = terminalreporter.stats.get("skipped", [])
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in reports)
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"skipped {count}: {reason}")


def _left(threads: set[threading.Thread], descriptors: set[tuple[int, int, str]]) -> list[str]:
    new = [f"thread {thread.name}" for thread in _threads() - threads if thread.is_alive()]
    return new + [f"{kind} on descriptor {fd}" for fd, _, kind in _descriptors() - descriptors]


def _threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if not thread.name.startswith(_KEPT_THREADS)}


def _descriptors() -> set[tuple[int, int, str]]:
    """Every open descriptor with its inode, so that a number used again counts as another one."""
    found: set[tuple[int, int, str]] = set()
    for entry in Path("/dev/fd").iterdir():
        try:
            status = os.fstat(int(entry.name))
        except OSError:  # the one that read this very directory
            continue
        kind = (
            "socket" if stat.S_ISSOCK(status.st_mode) else "pipe" if stat.S_ISFIFO(status.st_mode) else "file"
        )
        found.add((int(entry.name), status.st_ino, kind))
    return found
