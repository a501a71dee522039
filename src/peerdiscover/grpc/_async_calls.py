"""Calls for asyncio that are in flight, as gRPC's callers know them: one class of each kind."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import suppress
from typing import Any

import grpc.aio
from grpc.aio import EOF, AioRpcError

from ._async_attempts import Attempts

_logger = logging.getLogger("peerdiscover")


def _of_last(name: str) -> Callable[..., Any]:
    """Return a method that waits for the last attempt's end, and then is that of gRPC's call."""

    async def method(self: PodCall) -> Any:
        return await getattr(await self._last(), name)()

    return method


class PodCall(Attempts):
    """What all kinds have in common."""

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
