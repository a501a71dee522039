"""A call for threads that is in flight, as gRPC's callers know it. Its twins are in `_async_calls`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import grpc
from grpc import StatusCode

from ._sync_attempts import Attempts


def _of_last(name: str) -> Callable[..., Any]:
    """Return a method that waits for the last attempt's end, and then is that of gRPC's call."""
    return lambda self, timeout=None: getattr(self._last(timeout), name)()


class PodCall(Attempts, grpc.Call, grpc.Future):  # type: ignore[type-arg]  # not generic at run time
    """A call with a response stream, or one made with `future()`."""

    code = _of_last("code")
    details = _of_last("details")
    debug_error_string = _of_last("debug_error_string")
    trailing_metadata = _of_last("trailing_metadata")
    result = _of_last("result")
    exception = _of_last("exception")
    traceback = _of_last("traceback")

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        while True:
            call = self._current()
            try:
                response = next(call)
            except (grpc.RpcError, StopIteration):
                if self._stands(call):
                    raise
                continue
            with self._lock:
                if self._call is call:
                    self._dispatch.answered(self._attempt)
                    return response

    def initial_metadata(self) -> Any:
        while True:
            call = self._current()
            metadata = call.initial_metadata()
            if not call.done() or self._stands(call):
                return metadata

    def add_callback(self, callback: Callable[[], None]) -> bool:
        with self._lock:
            if not self._ended:
                self._callbacks.append(callback)
            return not self._ended

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        if not self.add_callback(partial(fn, self)):
            fn(self)

    def cancelled(self) -> bool:
        return self._cancelled and self._ended and self._call.code() is StatusCode.CANCELLED

    def done(self) -> bool:
        return self._ended

    def is_active(self) -> bool:
        return not self._ended

    running = is_active
