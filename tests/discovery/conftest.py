"""What the tests of both kinds of Discovery share."""

from __future__ import annotations

import pytest

from peerdiscover.discovery._threads import ThreadedRuntime

from ._clock import Run, SettableClock, run_virtually


@pytest.fixture
def run(anyio_backend: str) -> Run:
    """Runs a coroutine function in virtual time, on asyncio and on trio."""
    return lambda main: run_virtually(anyio_backend, main)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SettableClock:
    """The clock of all discoveries for threads of this test. Time runs out when the test says so."""
    settable = SettableClock()
    monkeypatch.setattr(ThreadedRuntime, "now", lambda _: settable())
    return settable
