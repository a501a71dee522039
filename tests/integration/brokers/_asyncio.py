"""asyncio in a thread of its own, for the drivers that need a running loop."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cache
from threading import Lock

from anyio.from_thread import BlockingPortal, start_blocking_portal

_LOOPS, _LOCK = ExitStack(), Lock()


def event_loop() -> BlockingPortal:
    """It is one, and lives as long as the process."""
    with _LOCK:
        return _started()


@cache
def _started() -> BlockingPortal:
    return _LOOPS.enter_context(start_blocking_portal())
