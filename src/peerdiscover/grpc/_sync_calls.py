"""A call for threads that is in flight, as gRPC's callers know it. Its twins are in `_async_calls`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
from grpc import StatusCode

from ._errors import EndedCall
from ._sync_attempts import Attempts

if TYPE_CHECKING:

    class _Base(grpc.Call, grpc.Future[Any]): ...
else:

    class _Base(grpc.Call, grpc.Future):
        pass


def _of_last(name: str) -> Callable[..., Any]:
    """Return a method that waits for the last attempt's end, and then is that of gRPC's call."""
    return lambda self, timeout=None: getattr(self._last(timeout), name)()


class PodCall(Attempts, _Base):
    """A call in flight: one of a response stream, or made with `future()`."""

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
            if self._received:
                return response
            with self._condition:  # an attempt that is given up just now has not been seen
                self._received = self._call is call
            if self._received:
                self._dispatch.succeeded(self._attempt)
                return response

    def initial_metadata(self) -> Any:
        while True:
            call = self._current()
            metadata = call.initial_metadata()
            if not call.done() or self._stands(call):
                return metadata

    def cancel(self) -> bool:
        with self._condition:
            if self._ended:
                return False
            self._cancelled, call = True, self._call
        if call is None:
            self._end(EndedCall(StatusCode.CANCELLED, "Locally cancelled by application!"))
            return True
        return bool(call.cancel())

    def add_callback(self, callback: Callable[[], None]) -> bool:
        with self._condition:
            if not self._ended:
                self._callbacks.append(callback)
            return not self._ended

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        if not self.add_callback(partial(fn, self)):
            fn(self)

    code = _of_last("code")
    details = _of_last("details")
    debug_error_string = _of_last("debug_error_string")
    trailing_metadata = _of_last("trailing_metadata")
    result = _of_last("result")
    exception = _of_last("exception")
    traceback = _of_last("traceback")

    def time_remaining(self) -> Any:
        return self._dispatch.time_remaining(time.monotonic())

    def cancelled(self) -> bool:
        return self._cancelled

    def done(self) -> bool:
        return self._ended

    def is_active(self) -> bool:
        return not self._ended

    running = is_active
