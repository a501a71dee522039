"""The attempts of a call for threads that is in flight. Their twin is `_async_attempts`.

Invariants:

* The caller waits in its own thread. What follows an attempt is decided where gRPC says that it ended, in
  gRPC's thread; pauses and further attempts have a thread of their own, which the usual call does not need.
* Once the caller was given a part of the response, the attempt stands, however it ends.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc
from grpc import StatusCode

from peerdiscover.discovery._changes import Pause

from ._dispatch import Attempt, Dispatch
from ._errors import EndedCall

_logger = logging.getLogger("peerdiscover")


class Attempts:
    """The attempts of one call. `start` makes it on a pod; `wait` returns when a pause has ended."""

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
        except Exception as error:  # noqa: BLE001 - the channel was closed, or the user's picker failed
            self._end(EndedCall(StatusCode.UNKNOWN, repr(error)))

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
