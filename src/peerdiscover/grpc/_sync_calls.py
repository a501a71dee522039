"""A call for threads that is in flight: it stands for the attempts that are made for it.

Invariants:

* The caller waits in its own thread. What follows an attempt is decided where gRPC says that it ended, in
  gRPC's thread; pauses and further attempts have a thread of their own, which the usual call does not need.
* Once the caller was given a part of the response, the attempt stands, however it ends.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
from grpc import StatusCode

from peerdiscover.discovery._changes import Pause

from ._dispatch import Attempt, Dispatch
from ._errors import EndedCall

if TYPE_CHECKING:

    class _Base(grpc.Call, grpc.Future[Any]): ...
else:

    class _Base(grpc.Call, grpc.Future):
        pass


_logger = logging.getLogger("peerdiscover")


def _of_last(name: str) -> Callable[..., Any]:
    """Return a method that waits for the last attempt's end, and then is that of gRPC's call."""
    return lambda self, timeout=None: getattr(self._last(timeout), name)()


class PodCall(_Base):
    """A call in flight: one of a response stream, or made with `future()`.

    `start` makes it on one pod; `wait` returns when a pause has ended.
    """

    def __init__(
        self, dispatch: Dispatch, start: Callable[[Attempt], Any], wait: Callable[[Pause], None]
    ) -> None:
        self._dispatch = dispatch
        self._start = start
        self._wait = wait
        self._condition = threading.Condition()
        self._call: Any = None
        """The call on a pod, or how it ended; None while there is none."""
        self._received = self._cancelled = self._ended = False
        self._callbacks: list[Callable[[], object]] = []
        step = dispatch.next(time.monotonic())
        if isinstance(step, Attempt):
            self._begin(step)
        else:
            threading.Thread(target=self._go_on, args=(step,), daemon=True).start()

    def _begin(self, attempt: Attempt) -> None:
        try:
            call = self._start(attempt)
        except BaseException:
            attempt.release()
            raise
        with self._condition:
            self._call, self._attempt = call, attempt
            self._condition.notify_all()
        if self._cancelled:
            call.cancel()
        call.add_done_callback(partial(self._on_done, attempt))

    def _on_done(self, attempt: Attempt, call: Any) -> None:
        attempt.release()
        code, again = call.code(), False
        if code is StatusCode.OK:
            self._dispatch.succeeded(attempt)
        else:
            with self._condition:
                again = self._dispatch.failed(
                    attempt, call, code, call.details(), time.monotonic(), received=self._received
                )
                self._call = None if again else call
        if again:
            threading.Thread(target=self._go_on, daemon=True).start()
        else:
            self._end(call)

    def _go_on(self, step: Attempt | Pause | None = None) -> None:
        try:
            while not self._cancelled:
                step = step or self._dispatch.next(time.monotonic())
                if isinstance(step, Attempt):
                    return self._begin(step)
                self._wait(step)
                step = None
        except grpc.RpcError as error:
            self._end(error)
        except Exception as error:  # the discovery was closed, or a picker of the user's failed
            self._end(EndedCall(StatusCode.UNKNOWN, repr(error)))
            raise

    def _end(self, call: Any) -> None:
        with self._condition:
            if self._ended:
                return
            self._call, self._ended = call, True
            self._condition.notify_all()
        for callback in self._callbacks:
            try:
                callback()
            except Exception:
                _logger.exception("a callback of a gRPC call failed")

    def _current(self) -> Any:
        """Return the call on a pod once there is one."""
        with self._condition:
            self._condition.wait_for(lambda: self._call is not None)
            return self._call

    def _last(self, timeout: float | None = None) -> Any:
        """Return the call of the last attempt once it has ended."""
        with self._condition:
            if not self._condition.wait_for(lambda: self._ended, timeout):
                raise grpc.FutureTimeoutError
            return self._call

    def _stands(self, call: Any) -> bool:
        """Whether there is no attempt after this one, which has ended."""
        with self._condition:
            self._condition.wait_for(lambda: self._ended or self._call is not call)
            return self._call is call

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
