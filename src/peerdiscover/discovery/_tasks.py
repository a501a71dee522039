"""How a discovery waits and asks under asyncio and trio; its twin is `_threads`.

Rules of this room:

* One task refreshes, in a task group that the `async with` holds. It never dies but by cancellation:
  whatever a source or a callback raises is an outcome, is logged, and the next question is due.
* The core is touched between awaits only, by one event loop: there is no lock.
* In the child of a fork it is closed: there is no event loop there.
* A source that only blocks is asked in a thread.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Self

import anyio
import anyio.abc

from peerdiscover.answers import LookupRequest
from peerdiscover.peers import Change
from peerdiscover.sources import _calling

from ._base import State, _BaseDiscovery
from ._changes import ChangeReader, Pause

__all__ = ["Changes", "TaskRuntime"]


class TaskRuntime(_BaseDiscovery):
    """One task that refreshes, and everybody else who waits."""

    _tasks: anyio.abc.TaskGroup
    _changed: anyio.Event
    _passing = (KeyboardInterrupt,)  # event loops raise it wherever they happen to be
    _told = 0.0

    async def _pause(self, pause: Pause) -> None:
        await self._wait_until(lambda: self.peers.generation != pause.generation, pause.seconds)

    def _new_lock(self) -> AbstractContextManager[object]:
        return nullcontext()

    def _now(self) -> float:
        with suppress(RuntimeError):  # read outside the event loop: how things were when it was last told
            self._told = anyio.current_time()
        return self._told

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def _wait_until(self, ready: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until `ready`; False when `timeout` seconds are over."""
        with anyio.move_on_after(timeout):
            while not ready():
                self._require_open()
                await self._changed.wait()
            return True
        return ready()  # it may have become so in the very moment that time was over

    def _begin_refreshing(self) -> None:
        self._core.start(self._now())
        self._stuck_calls: set[object] = set()
        self._tasks.start_soon(self._run)

    async def _run(self) -> None:
        while self._state is State.OPEN:
            self._publish_pending()
            due, began = self._due(), self._now()
            if isinstance(due, LookupRequest):
                if self._core.watched:
                    self._tasks.start_soon(self._feed, due)
                else:
                    answer = await _calling.apull(self._source, due, self._stuck_calls)
                    self._take(answer, self._now() - began)
            elif not self._has_pending():
                with anyio.move_on_after(due):
                    await self._changed.wait()

    async def _feed(self, ask: LookupRequest) -> None:
        """Hand on what a source tells by itself, until it ends."""
        self._watch_ended(await _calling.afollow(self._source, ask, self._watch_told))

    # For `_forks`

    def _after_fork_in_child(self) -> None:
        self._end()

    def _at_exit(self) -> None:
        """Its event loop is gone by then, and its task with it."""


class Changes:
    """An iterator, and no generator: a loop over it may be left by `break`, with nothing to close."""

    def __init__(
        self,
        reader: ChangeReader,
        wait_until: Callable[[Callable[[], bool], float | None], Awaitable[bool]],
        timeout: float | None,
    ) -> None:
        self._reader = reader
        self._wait_until = wait_until
        self._timeout = timeout
        self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        more = not self._over and await self._wait_until(self._reader.ready, self._timeout)
        if not more or self._reader.change is None:
            self._over = True
            raise StopAsyncIteration
        return self._reader.change
