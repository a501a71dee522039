"""Waiting for what nobody announces, such as that a thread has begun to wait."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["eventually"]


def eventually(done: Callable[[], object], timeout: float = 20.0) -> None:
    """Return once it is so; fails when it does not come to that in `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not done():
        assert time.monotonic() < deadline, f"did not come in {timeout} s"
        time.sleep(0.002)
