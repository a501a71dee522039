"""Waiting for what announces itself to no test, such as that a thread has begun to wait."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["LONG", "eventually"]

LONG = 60.0
"""Seconds in which what must happen happens on the busiest machine. Only a test that fails waits so long."""


def eventually(done: Callable[[], object], timeout: float = LONG) -> None:
    """Return once `done()` is true; fail if it does not become true within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not done():
        assert time.monotonic() < deadline, f"it did not happen within {timeout} s"
        time.sleep(0.002)
