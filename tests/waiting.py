"""Waiting for what announces itself to no test, such as that a thread has begun to wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

__all__ = ["LONG", "eventually", "one_of_ten"]

LONG = 60.0
"""Seconds in which what must happen happens on the busiest machine. Only a test that fails waits so long."""


def eventually(done: Callable[[], object], timeout: float = LONG) -> None:
    """Return once `done()` is true; fail if it does not become true within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not done():
        assert time.monotonic() < deadline, f"it did not happen within {timeout} s"
        time.sleep(0.002)


def one_of_ten(attempt: Callable[[], None]) -> None:
    """Return once `attempt()` raises no AssertionError, at the tenth time at the latest.

    For what a nameserver must say within 0.4 s: a busy machine may keep it from that, and then another one is
    asked, rightly. That is rare, and a fault shows each time.
    """
    for _ in range(9):
        with suppress(AssertionError):
            return attempt()
    return attempt()
