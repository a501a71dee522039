"""The methods that the stubs of an `AsyncPodChannel` call. Their twins are in `_sync_methods`."""

from __future__ import annotations

from functools import partial
from time import monotonic
from typing import Any

import grpc.aio

from peerdiscover.discovery._changes import Pause

from ._async_calls import PodCall, StreamStreamCall, StreamUnaryCall, UnaryStreamCall, UnaryUnaryCall
from ._methods import CallOptions, Method
from ._requests import AsyncRequests


class _Method(Method):
    def _begin(self, kind: type[PodCall], request: Any, *args: Any, **options: Any) -> Any:
        """Return a call in flight."""
        given = CallOptions(*args, **options)
        start = partial(self.start, invoke="__call__", request=request, options=given)
        requests = request if isinstance(request, AsyncRequests) else None
        return kind(self.dispatch(request, given, monotonic()), start, self._wait, requests)

    async def _wait(self, pause: Pause) -> None:
        """Return once the set changed, or the pause ended."""
        async for change in self.state.discovery.changes(timeout=pause.seconds):
            if change.after.generation != pause.generation:
                return


class UnaryUnary(_Method, grpc.aio.UnaryUnaryMultiCallable):  # type: ignore[type-arg]  # see `_sync_methods`
    def __call__(self, request: Any, *args: Any, **options: Any) -> Any:
        return self._begin(UnaryUnaryCall, request, *args, **options)


class UnaryStream(_Method, grpc.aio.UnaryStreamMultiCallable):  # type: ignore[type-arg]
    def __call__(self, request: Any, *args: Any, **options: Any) -> Any:
        return self._begin(UnaryStreamCall, request, *args, **options)


class StreamUnary(_Method, grpc.aio.StreamUnaryMultiCallable):  # type: ignore[type-arg]
    def __call__(self, request_iterator: Any = None, *args: Any, **options: Any) -> Any:
        return self._begin(StreamUnaryCall, AsyncRequests(request_iterator), *args, **options)


class StreamStream(_Method, grpc.aio.StreamStreamMultiCallable):  # type: ignore[type-arg]
    def __call__(self, request_iterator: Any = None, *args: Any, **options: Any) -> Any:
        return self._begin(StreamStreamCall, AsyncRequests(request_iterator), *args, **options)
