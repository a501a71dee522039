"""Calls for asyncio that are in flight, as gRPC's callers know them: one class of each kind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import suppress
from functools import partial
from inspect import isawaitable
from typing import Any

import grpc.aio
from grpc.aio import EOF

from ._async_attempts import Attempts


async def _ask(call: Any, name: str) -> Any:
    """Return what a call says; an error says it at once."""
    said = getattr(call, name)()
    return await said if isawaitable(said) else said


def _of_last(name: str) -> Callable[..., Any]:
    """Return a method that waits for the last attempt's end, and then is that of gRPC's call."""

    async def method(self: PodCall) -> Any:
        return await _ask(await self._last(), name)

    return method


class PodCall(Attempts):
    """What all kinds have in common."""

    _watcher: asyncio.Task[None] | None = None

    code = _of_last("code")
    details = _of_last("details")
    debug_error_string = _of_last("debug_error_string")
    trailing_metadata = _of_last("trailing_metadata")

    async def initial_metadata(self) -> Any:
        while True:
            call = await self._current()
            metadata = await _ask(call, "initial_metadata")
            if await self._stands(call):
                return metadata

    async def wait_for_connection(self) -> None:
        await self._on_pod(lambda call: call.wait_for_connection())

    def cancelled(self) -> bool:
        return self._cancelled

    def done(self) -> bool:
        if not self._ended and self._call is not None and self._call.done():
            self._watch()
        return self._ended

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        if self._ended:
            callback(self)
        else:
            self._callbacks.append(partial(callback, self))
            self._watch()

    def _watch(self) -> None:
        """See to its end, though no task may wait for it."""
        if self._watcher is None:
            self._watcher = asyncio.ensure_future(self._see_to_end())

    async def _see_to_end(self) -> None:
        with suppress(asyncio.CancelledError):
            await self._last()
        self._run_callbacks()


class _UnaryResponse(PodCall):
    def __await__(self) -> Generator[Any, None, Any]:
        return self._response().__await__()

    async def _response(self) -> Any:
        response = await self._on_pod(lambda call: call)
        self._dispatch.answered(self._attempt)
        self._end()
        return response


class _StreamResponse(PodCall):
    def __aiter__(self) -> AsyncIterator[Any]:
        return self._responses()

    async def _responses(self) -> AsyncIterator[Any]:
        while True:
            response = await self._on_pod(lambda call: anext(aiter(call), EOF))
            self._dispatch.answered(self._attempt)
            if response is EOF:
                return
            yield response

    async def read(self) -> Any:
        response = await self._on_pod(lambda call: call.read())
        self._dispatch.answered(self._attempt)
        return response


class _StreamRequest(PodCall):
    async def write(self, request: Any) -> None:
        await self._write(lambda call: call.write(request))

    async def done_writing(self) -> None:
        await self._write(lambda call: call.done_writing())

    async def _write(self, act: Callable[[Any], Any]) -> None:
        await self._on_pod(act)
        assert self._dispatch.requests is not None
        self._dispatch.requests.consumed = True


class UnaryUnaryCall(_UnaryResponse, grpc.aio.UnaryUnaryCall):  # type: ignore[type-arg]  # not generic at run time
    """A call with a request and a response."""


class UnaryStreamCall(_StreamResponse, grpc.aio.UnaryStreamCall):  # type: ignore[type-arg]
    """A call with a request and a response stream."""


class StreamUnaryCall(_StreamRequest, _UnaryResponse, grpc.aio.StreamUnaryCall):  # type: ignore[type-arg]
    """A call with a request stream and a response."""


class StreamStreamCall(_StreamRequest, _StreamResponse, grpc.aio.StreamStreamCall):  # type: ignore[type-arg]
    """A call with streams in both directions."""
