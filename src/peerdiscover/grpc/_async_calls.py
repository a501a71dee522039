"""A call for asyncio that is in flight: it stands for the attempts that are made for it.

Invariants:

* What follows an attempt is decided by the first task that waits for the call and sees how the attempt
  ended; others wait for that (`_lock`). The usual call needs no task beside gRPC's own.
* Once the caller was given a part of the response, the attempt stands, however it ends.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import suppress
from typing import Any

import grpc.aio
from grpc import StatusCode
from grpc.aio import EOF, AioRpcError

from peerdiscover.discovery._changes import Pause

from ._dispatch import Attempt, Dispatch
from ._requests import AsyncRequests

_logger = logging.getLogger("peerdiscover")


def _of_last(name: str) -> Callable[..., Any]:
    """Return a method that waits for the last attempt's end, and then is that of gRPC's call."""

    async def method(self: PodCall) -> Any:
        return await getattr(await self._last(), name)()

    return method


class PodCall:
    """A call in flight.

    `start` makes it on one pod, `wait` returns when a pause has ended, `requests` is its request stream.
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
        try:
            while self._call is None:
                if self._pause is not None:
                    self._pausing = asyncio.ensure_future(self._wait(self._pause))
                    await self._pausing
                self._pause = self._begin(self._dispatch.next(time.monotonic()))
        except asyncio.CancelledError:
            self._cancelled = True
            self._end()
            raise

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
        """Return what this comes to with the call of the attempt that stands."""
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

    code = _of_last("code")
    details = _of_last("details")
    debug_error_string = _of_last("debug_error_string")
    trailing_metadata = _of_last("trailing_metadata")

    async def initial_metadata(self) -> Any:
        while True:
            call = await self._current()
            metadata = await call.initial_metadata()
            if not await self._replaced(call):
                return metadata

    async def wait_for_connection(self) -> None:
        await self._on_pod(lambda call: call.wait_for_connection())

    def cancel(self) -> bool:
        if self._ended or self._cancelled:
            return False
        self._cancelled = True
        if self._pausing is not None:
            self._pausing.cancel()
        if self._call is not None:
            self._call.cancel()
        self._end()
        return True

    def cancelled(self) -> bool:
        return self._cancelled

    def done(self) -> bool:
        if not self._ended and self._call is not None and self._call.done():
            self._watch()
        return self._ended

    def time_remaining(self) -> float | None:
        return self._dispatch.time_remaining(time.monotonic())

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        if self._ended:
            callback(self)
        else:
            self._callbacks.append(callback)
            self._watch()

    def _watch(self) -> None:
        """See to its end, though no task may wait for it."""
        if self._watcher is None:
            self._watcher = asyncio.ensure_future(self._see_to_end())

    async def _see_to_end(self) -> None:
        with suppress(AioRpcError, asyncio.CancelledError):
            await self._last()
        for callback in self._callbacks:
            try:
                callback(self)
            except Exception:
                _logger.exception("a callback of a gRPC call failed")


class _UnaryResponse(PodCall):
    def __await__(self) -> Generator[Any, None, Any]:
        return self._response().__await__()

    async def _response(self) -> Any:
        response = await self._on_pod(lambda call: call)
        self._succeeded()
        self._end()
        return response


class _StreamResponse(PodCall):
    def __aiter__(self) -> AsyncIterator[Any]:
        return self._responses()

    async def _responses(self) -> AsyncIterator[Any]:
        first = await self._on_pod(lambda call: anext(aiter(call), EOF))
        self._succeeded()
        if first is EOF:
            return
        yield first
        call = self._call
        try:
            async for response in call:
                yield response
        except AioRpcError as error:
            await self._replaced(call, error)
            raise

    async def read(self) -> Any:
        response = await self._on_pod(lambda call: call.read())
        self._succeeded()
        return response


class _StreamRequest(PodCall):
    async def write(self, request: Any) -> None:
        await self._on_pod(lambda call: call.write(request))
        assert self._requests is not None
        self._requests.consumed = True

    async def done_writing(self) -> None:
        await self._on_pod(lambda call: call.done_writing())
        assert self._requests is not None
        self._requests.consumed = True


class UnaryUnaryCall(_UnaryResponse, grpc.aio.UnaryUnaryCall):  # type: ignore[type-arg]  # see `_sync_methods`
    """A call with a request and a response."""


class UnaryStreamCall(_StreamResponse, grpc.aio.UnaryStreamCall):  # type: ignore[type-arg]
    """A call with a request and a response stream."""


class StreamUnaryCall(_StreamRequest, _UnaryResponse, grpc.aio.StreamUnaryCall):  # type: ignore[type-arg]
    """A call with a request stream and a response."""


class StreamStreamCall(_StreamRequest, _StreamResponse, grpc.aio.StreamStreamCall):  # type: ignore[type-arg]
    """A call with streams in both directions."""
