"""The attempts of a call for asyncio that is in flight. Their twin is `_sync_attempts`.

Invariants:

* What follows an attempt is decided by the first task that waits for the call and sees how the attempt
  ended; others wait for that (`_lock`). The usual call needs no task beside gRPC's own.
* Once the caller was given a part of the response, the attempt stands, however it ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from grpc import StatusCode
from grpc.aio import AioRpcError

from peerdiscover.discovery._changes import Pause

from ._dispatch import Attempt, Dispatch
from ._requests import AsyncRequests


class Attempts:
    """The attempts of one call.

    `start` makes it on a pod; `wait` returns when a pause has ended; `requests` is the request stream.
    """

    def __init__(
        self,
        dispatch: Dispatch,
        start: Callable[[Attempt], Any],
        wait: Callable[[Pause], Awaitable[None]],
        requests: AsyncRequests | None,
    ) -> None:
        self._dispatch = dispatch
        self._start = start
        self._wait = wait
        self._requests = requests
        self._lock = asyncio.Lock()
        self._attempt: Attempt
        self._call: Any = None
        """The call on a pod; None while there is none."""
        self._received = self._cancelled = self._ended = False
        self._pausing: asyncio.Future[None] | None = None
        self._callbacks: list[Callable[[Any], None]] = []
        self._watcher: asyncio.Task[None] | None = None
        self._pause = self._begin(dispatch.next(time.monotonic()))

    def _begin(self, step: Attempt | Pause) -> Pause | None:
        """Begin the attempt. Return the pause, if it is one."""
        if isinstance(step, Pause):
            return step
        self._attempt, self._call = step, self._start(step)
        if step.lease is not None:
            self._call.add_done_callback(step.release)
        return None

    async def _go_on(self) -> None:
        """Begin the next attempt, when there may be one."""
        while self._call is None:
            if self._pause is not None:
                self._pausing = asyncio.ensure_future(self._wait(self._pause))
                await self._pausing
            self._pause = self._begin(self._dispatch.next(time.monotonic()))

    async def _current(self) -> Any:
        """Return the call on a pod once there is one."""
        if self._call is None:
            async with self._lock:
                if self._cancelled:
                    raise asyncio.CancelledError
                await self._go_on()
        return self._call

    async def _replaced(self, call: Any, error: Exception | None = None) -> bool:
        """Whether another attempt takes the place of this one, which has ended (with this error)."""
        async with self._lock:
            if self._call is not call:
                return True
            if self._ended or not call.done() or (code := await call.code()) is StatusCode.OK:
                return False
            details = await call.details()
            if not isinstance(error, AioRpcError):
                metadata = await call.initial_metadata(), await call.trailing_metadata()
                error = AioRpcError(code, *metadata, details, await call.debug_error_string())
            if not self._dispatch.failed(
                self._attempt, error, code, details, time.monotonic(), received=self._received
            ):
                self._end()
                return False
            self._call = None
            try:
                await self._go_on()
            except AioRpcError:  # it is the last attempt's
                self._call = call
                self._end()
                return False
            return True

    def _end(self) -> None:
        self._ended = True
        if self._requests is not None:
            self._requests.close()

    async def _on_pod(self, act: Callable[[Any], Awaitable[Any]]) -> Any:
        """Return what this comes to with the call of the attempt that stands. Cancelling it ends the call."""
        try:
            while True:
                call = await self._current()
                try:
                    result = await act(call)
                except (AioRpcError, asyncio.InvalidStateError) as error:  # the latter: it ended before
                    if not await self._replaced(call, error):
                        raise
                else:
                    if call is self._call:  # an attempt that is given up just now has not been seen
                        return result
        except asyncio.CancelledError:
            self.cancel()
            raise

    def cancel(self) -> bool:
        """End the call. Return whether it was in flight."""
        if self._ended:
            return False
        self._cancelled = True
        if self._pausing is not None:
            self._pausing.cancel()
        if self._call is not None:
            self._call.cancel()
        self._end()
        return True

    def _succeeded(self) -> None:
        if not self._received:
            self._received = True
            self._dispatch.succeeded(self._attempt)

    async def _last(self) -> Any:
        """Return the call of the last attempt once it has ended."""
        while True:
            call = await self._current()
            await call.code()
            if not await self._replaced(call):
                self._end()
                return call
