"""Virtual time: event loops whose clock jumps to the next timer when there is nothing else to do."""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

T = TypeVar("T")
Run = Callable[[Callable[[], Awaitable[None]]], None]


class _JumpingSelector(selectors.DefaultSelector):
    """Never waits: what would be a wait is a jump of the clock."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise RuntimeError("everything waits, and nothing will ever happen")
        if timeout > 0:
            self.now += timeout
        return []


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop in virtual time. Threads are not waited for: nothing in it may use one."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


class SettableClock:
    """The clock of discoveries for threads: the machine's own, until a test sets it forward."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self._ahead

    def forward(self, seconds: float) -> None:
        """What has so many seconds left, has none."""
        self._ahead += seconds


def run_virtually(backend: str, main: Callable[[], Awaitable[T]]) -> T:
    """Run `main` to its end; hours pass in no time."""
    if backend == "trio":
        import trio
        from trio.testing import MockClock

        return trio.run(main, clock=MockClock(autojump_threshold=0))

    async def run() -> T:
        return await main()

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(run())
