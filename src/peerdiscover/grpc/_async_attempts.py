"""The attempts of a call for asyncio that is in flight. Their twin is `_sync_attempts`.

Invariants:

* What follows an attempt is decided by the first task that waits for the call and sees how the attempt
  ended (others wait for that: `_lock`), or by `cancel()`. The usual call needs no task beside gRPC's own.
* A call that was cancelled goes to no other pod. Cancelling a task that waits for its response, or for a
  part of it, cancels the call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from time import monotonic
from typing import Any

import anyio
from grpc import RpcError, StatusCode
from grpc.aio import AioRpcError

from peerdiscover.discovery._changes import Pause
from peerdiscover.errors import NoPeersError
from peerdiscover.http._pauses import wait_async

from ._dispatch import Attempt, Dispatch
from ._errors import LOCALLY_CANCELLED, AsyncEndedCall, status_of
from ._methods import Call


def _at_once(asking: Coroutine[Any, Any, bool]) -> bool:
    """Return what `await` would return, where there is nothing to wait for."""
    try:
        asking.send(None)
    except StopIteration as said:
        return bool(said.value)
    return False


class Attempts(Call):
    """The attempts of one call."""

    def __init__(self, dispatch: Dispatch, start: Callable[[Attempt], Any]) -> None:
        super().__init__(dispatch, start)
        self._lock = asyncio.Lock()
        self._pause: Pause | None = None
        self._pausing: anyio.CancelScope | None = None
        try:
            self._begin(dispatch.next(monotonic()))
        except NoPeersError as error:
            self._end(error)

    def _begin(self, step: Attempt | Pause) -> None:
        """Begin the attempt, if it is none to wait for."""
        if isinstance(step, Pause):
            self._pause = step
            return
        self._attempt, self._call = step, self._start(step)
        if step.lease is not None:
            self._call.add_done_callback(step.release)

    async def _go_on(self) -> None:
        """Begin the next attempt, when there may be one, or end the call."""
        try:
            while self._call is None:
                if self._pause is None:
                    self._begin(self._dispatch.next(monotonic()))
                    continue
                with anyio.CancelScope() as self._pausing:
                    await wait_async(self._dispatch.state.discovery, self._pause)
                self._pause = None
        except RpcError as error:
            self._end(error)
        except Exception as error:  # noqa: BLE001 - see `status_of`
            self._end(AsyncEndedCall(*status_of(error)))

    def _end(self, error: Exception | None = None) -> None:
        self._call = error or self._call
        self._ended = True
        if self._dispatch.requests is not None:
            self._dispatch.requests.close()

    def cancel(self) -> bool:
        """End the call. Return whether it was in flight."""
        if self._ended:
            return False
        call = self._call
        self._cancelled = call is not None and (call.cancel() or call.cancelled())  # maybe by its task
        between = not self._cancelled and (call is None or _at_once(self._has_next(call)))
        if between and self._pausing is not None:
            self._pausing.cancel()
        self._cancelled |= between
        self._end(AsyncEndedCall(*LOCALLY_CANCELLED) if between else None)
        return self._cancelled

    async def _current(self) -> Any:
        """Return the call on a pod, or the error that it ended with, once there is one."""
        if self._call is None:
            async with self._lock:
                await self._go_on()
        return self._call

    async def _has_next(self, call: Any, error: Exception | None = None) -> bool:
        """Whether there is an attempt after this one, which has ended (with this error); it does not wait."""
        code, details = await call.code(), await call.details()
        if code is not StatusCode.OK and not isinstance(error, AioRpcError):
            metadata = await call.initial_metadata(), await call.trailing_metadata()
            error = AioRpcError(code, *metadata, details, await call.debug_error_string())
        return self._dispatch.ended(self._attempt, error, code, details, monotonic())

    async def _stands(self, call: Any, error: Exception | None = None) -> bool:
        """Whether there is no attempt after this one, as far as it has ended (with this error)."""
        async with self._lock:
            if self._call is call and not self._ended and call.done():
                if await self._has_next(call, error):
                    self._call = None
                    await self._go_on()
                else:
                    self._end()
            return self._call is call

    async def _on_pod(self, act: Callable[[Any], Awaitable[Any]]) -> Any:
        """Return what this comes to with the call of the attempt that stands."""
        try:
            while True:
                call = await self._current()
                if isinstance(call, AioRpcError):
                    raise asyncio.CancelledError if self._cancelled else call
                try:
                    result = await act(call)
                except (AioRpcError, asyncio.InvalidStateError) as error:  # the latter: it ended before
                    if await self._stands(call, error):
                        raise
                else:
                    if call is self._call:  # an attempt that is given up just now has not been seen
                        return result
        except asyncio.CancelledError:
            self.cancel()
            raise

    async def _last(self) -> Any:
        """Return the call of the last attempt once it has ended."""
        while True:
            call = await self._current()
            if isinstance(call, AioRpcError):
                return call
            await call.code()
            if await self._stands(call):
                return call
