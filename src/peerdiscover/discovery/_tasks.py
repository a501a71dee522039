"""How a discovery waits and asks under asyncio and trio; its twin is `_threads`.

Invariants:

* One task refreshes. It belongs to the event loop, not to the task that started it: a task of asyncio's, or
  a system task of trio's. So any task may start and close a discovery, in any order, and no cancel scope
  stays open in the caller's task.
* It never dies but by cancellation: whatever a source or a callback raises is an outcome, is logged, and
  the next lookup is due. When the event loop ends, it cancels the task, and the discovery is closed.
* The core is used between awaits only, by one event loop: there is no lock.
* In the child of a fork it is closed: there is no event loop there.
* A source that only blocks is asked in a thread.
"""

from __future__ import annotations

import asyncio
import contextvars
import signal
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any, Self

import anyio
import anyio.abc

from peerdiscover import _forks
from peerdiscover.answers import LookupRequest
from peerdiscover.identity import Identity
from peerdiscover.peers import Change
from peerdiscover.sources import _calling

from ._changes import ChangeReader, Pause
from ._refresher import Refresher, State
from ._user_code import check_wait

_running: set[asyncio.Task[None]] = set()
"""asyncio refers to tasks weakly only: one that nothing else refers to could vanish while it waits."""


class TaskRuntime(Refresher):
    """One task that refreshes, and any number of tasks that wait."""

    _tasks: anyio.abc.TaskGroup
    _scope: anyio.CancelScope
    _changed: anyio.Event
    _ended: anyio.Event | None = None
    _own: set[int]
    _time = 0.0
    propagate = (KeyboardInterrupt,)  # event loops raise it wherever they happen to be

    def _create_lock(self) -> None:
        """There is nothing to lock: see the top."""
        self.lock = nullcontext()

    def now(self) -> float:
        with suppress(RuntimeError):  # outside of the event loop: the last time that was read inside of it
            self._time = anyio.current_time()
        return self._time

    def _wake(self) -> None:
        if self._ended is not None:
            self._changed.set()
            self._changed = anyio.Event()

    async def wait_until(self, ready: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until `ready()`; False after `timeout` seconds."""
        with anyio.move_on_after(timeout):
            while not ready():
                self.require_open()
                await self._changed.wait()
            return True
        return ready()  # it may have become so in the very moment that the time ended

    async def wait(self, min_peers: int, timeout: float | None, include_self: bool) -> None:
        check_wait(min_peers, timeout)
        self.require_open()
        began = self.now()
        if not await self.wait_until(lambda: self._satisfied(min_peers, include_self), timeout):
            raise self._timeout_error(min_peers, include_self, began)

    async def refresh(self) -> None:
        await self.wait_until(self._request(), None)

    async def pause(self, pause: Pause) -> None:
        await self.wait_until(lambda: self.peers.generation != pause.generation, pause.seconds)

    async def start(self, identity: Callable[[], Identity], wait: bool) -> None:
        opens = self._enter_start(identity)
        succeeded = False
        try:
            if opens:
                _forks.opened(self)
                self._begin()
            if wait and not self.ready:
                await self.wait(self.policy.min_peers, self.policy.ready_timeout, True)
                self.ready = True
            succeeded = True
        finally:
            if self._leave_start(succeeded):
                await self.aclose()

    def _begin(self) -> None:
        self.core.start(self.now())
        self._stuck_calls: set[object] = set()
        self._own = set()
        self._scope = anyio.CancelScope()
        self._changed, self._ended = anyio.Event(), anyio.Event()
        _spawn(self._serve, f"peerdiscover {self.service}")

    async def aclose(self) -> None:
        """End refreshing, and wait until the task has ended, even if the caller is cancelled."""
        self._end()
        _forks.closed(self)
        if self._ended is None:
            return
        self._scope.cancel()
        if anyio.get_current_task().id not in self._own:  # a source that closes would wait for itself
            with anyio.CancelScope(shield=True):
                await self._ended.wait()

    async def _serve(self) -> None:
        assert self._ended is not None
        self._own.add(anyio.get_current_task().id)
        interrupted = False
        try:
            with self._scope:
                async with anyio.create_task_group() as self._tasks:
                    await self._run()
        except* KeyboardInterrupt:
            interrupted = True  # raised here it would be a group in the first releases of Python 3.11
        finally:
            try:
                if self.state is State.OPEN:  # the event loop ends
                    self._end()
                self._publish()
            finally:
                self._own.clear()  # later tasks may have the same ids
                self._ended.set()
        if interrupted:
            _interrupt()

    async def _run(self) -> None:
        while self.state is State.OPEN:
            self._publish()
            due, began = self._due(), self.now()
            if isinstance(due, LookupRequest):
                if self.core.watched:
                    self._tasks.start_soon(self._watch, due)
                else:
                    answer = await _calling.apull(self.source, due, self._stuck_calls)
                    self._on_answer(answer, self.now() - began)
            elif not self._has_pending():
                with anyio.move_on_after(due):
                    await self._changed.wait()

    async def _watch(self, request: LookupRequest) -> None:
        """Apply what a watch delivers, until it ends."""
        own = anyio.get_current_task().id
        self._own.add(own)
        try:
            self._on_watch_end(await _calling.afollow(self.source, request, self._on_watch_answer))
        finally:
            self._own.discard(own)  # a later task may have the same id

    def _after_fork_in_child(self) -> None:
        self._end()


def _spawn(run: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
    """Run it in a task that belongs to the event loop, in an empty context: that of no request."""
    if not _is_asyncio():
        import trio

        trio.lowlevel.spawn_system_task(run, name=name)
        return
    task = asyncio.get_running_loop().create_task(run(), name=name, context=contextvars.Context())
    _running.add(task)
    task.add_done_callback(_done)


def _done(task: asyncio.Task[None]) -> None:
    _running.discard(task)
    if not task.cancelled():
        task.exception()  # it counts as retrieved: the event loop has raised it already


def _interrupt() -> None:
    """A callback was interrupted by Ctrl-C: the program is to know, by way of its event loop."""
    if _is_asyncio():
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)  # trio raises it in the main task; from a system task nothing may come


def _is_asyncio() -> bool:
    return anyio.get_cancelled_exc_class() is asyncio.CancelledError


@dataclass(eq=False, repr=False)
class Changes:
    """An iterator, and no generator: a loop over it may be left by `break`, with nothing to close."""

    _reader: ChangeReader
    _wait_until: Callable[[Callable[[], bool], float | None], Awaitable[bool]]
    _timeout: float | None
    _finished: bool = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        more = not self._finished and await self._wait_until(self._reader.ready, self._timeout)
        if not more or self._reader.change is None:
            self._finished = True
            raise StopAsyncIteration
        return self._reader.change
