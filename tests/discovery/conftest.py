"""What the tests of the shells share."""

from __future__ import annotations

import pytest

from ._clock import Run, run_virtually


@pytest.fixture
def run(anyio_backend: str) -> Run:
    """Runs a coroutine function in virtual time, on asyncio and on trio."""
    return lambda main: run_virtually(anyio_backend, main)
