"""The methods that the stubs of a `PodChannel` call. Their twins are in `_async_methods`."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import grpc

from peerdiscover.discovery._changes import Pause

from ._methods import CallOptions, Method
from ._requests import Requests
from ._sync_calls import PodCall


class _Method(Method):
    def _block(self, invoke: str, request: Any, options: CallOptions) -> Any:
        """Return the result of gRPC's `invoke` on a pod."""
        now = time.monotonic()
        dispatch = self.dispatch(request, options, now)
        while True:
            step = dispatch.next(now)
            if isinstance(step, Pause):
                self._wait(step)
                now = time.monotonic()
                continue
            try:
                result = self.start(step, invoke, request, options)
            except grpc.RpcError as error:
                now = time.monotonic()
                if not dispatch.failed(step, error, error.code(), error.details(), now):
                    raise
            else:
                dispatch.succeeded(step)
                return result
            finally:
                if step.lease is not None:
                    step.release()

    def _begin(self, invoke: str, request: Any, options: CallOptions) -> PodCall:
        """Return a call in flight, of gRPC's `invoke` on a pod."""
        dispatch = self.dispatch(request, options, time.monotonic())
        return PodCall(
            dispatch, partial(self.start, invoke=invoke, request=request, options=options), self._wait
        )

    def _wait(self, pause: Pause) -> None:
        """Return once the set changed, or the pause ended."""
        for change in self.state.discovery.changes(timeout=pause.seconds):
            if change.after.generation != pause.generation:
                return


class UnaryUnary(_Method, grpc.UnaryUnaryMultiCallable):  # type: ignore[type-arg]  # not generic at run time
    def __call__(self, request: Any, *args: Any, **options: Any) -> Any:
        return self._block("__call__", request, CallOptions(*args, **options))

    def with_call(self, request: Any, *args: Any, **options: Any) -> Any:
        return self._block("with_call", request, CallOptions(*args, **options))

    def future(self, request: Any, *args: Any, **options: Any) -> Any:
        return self._begin("future", request, CallOptions(*args, **options))


class UnaryStream(_Method, grpc.UnaryStreamMultiCallable):  # type: ignore[type-arg]
    def __call__(self, request: Any, *args: Any, **options: Any) -> Any:
        return self._begin("__call__", request, CallOptions(*args, **options))


class StreamUnary(_Method, grpc.StreamUnaryMultiCallable):  # type: ignore[type-arg]
    def __call__(self, request_iterator: Any, *args: Any, **options: Any) -> Any:
        return self._block("__call__", Requests(request_iterator), CallOptions(*args, **options))

    def with_call(self, request_iterator: Any, *args: Any, **options: Any) -> Any:
        return self._block("with_call", Requests(request_iterator), CallOptions(*args, **options))

    def future(self, request_iterator: Any, *args: Any, **options: Any) -> Any:
        return self._begin("future", Requests(request_iterator), CallOptions(*args, **options))


class StreamStream(_Method, grpc.StreamStreamMultiCallable):  # type: ignore[type-arg]
    def __call__(self, request_iterator: Any, *args: Any, **options: Any) -> Any:
        return self._begin("__call__", Requests(request_iterator), CallOptions(*args, **options))
