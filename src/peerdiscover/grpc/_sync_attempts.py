"""The attempts of a call for threads that is in flight. Their twin is `_async_attempts`.

Invariants:

* The caller waits in its own thread. What follows an attempt is decided where gRPC says that it ended, in
  gRPC's thread; pauses and further attempts have a thread of their own, which the usual call does not need.
* `_lock` is held where an attempt begins, is answered or ends: what an attempt answers that is given up at
  that moment has not been seen, and a call that is cancelled at that moment goes to no other pod.
* What is entered is the lock itself, in C. A `Condition` is entered by Python code, and a signal handler that
  raises in there would leave the lock held: gRPC's thread would wait for it for ever.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any

import grpc
from grpc import StatusCode

from peerdiscover.discovery._changes import Pause
from peerdiscover.errors import NoPeersError
from peerdiscover.http._pauses import wait

from ._dispatch import Attempt, Dispatch
from ._errors import LOCALLY_CANCELLED, EndedCall, status_of
from ._methods import Call


class Attempts(Call):
    """The attempts of one call."""

    def __init__(self, dispatch: Dispatch, start: Callable[[Attempt], Any]) -> None:
        super().__init__(dispatch, start)
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        try:
            step = dispatch.next(monotonic())
        except NoPeersError as error:
            self._end(error)
        else:
            if isinstance(step, Attempt):
                self._begin(step)
            else:
                self._go_on_in_thread(step)

    def _begin(self, attempt: Attempt) -> None:
        call = self._start(attempt)
        with self._lock:
            if not self._cancelled:
                self._call, self._attempt = call, attempt
                self._changed.notify_all()
        if self._cancelled:
            call.cancel()
        call.add_done_callback(partial(self._on_done, attempt))

    def _on_done(self, attempt: Attempt, call: Any) -> None:
        attempt.release()
        code, details = call.code(), call.details()
        with self._lock:
            again = self._dispatch.ended(attempt, call, code, details, monotonic()) and not self._ended
            if again:
                self._call = None
        if again:
            self._go_on_in_thread()
        else:
            self._end(call)

    def _go_on_in_thread(self, step: Pause | None = None) -> None:
        threading.Thread(target=self._go_on, args=(step,), daemon=True).start()

    def _go_on(self, step: Attempt | Pause | None) -> None:
        try:
            while not self._cancelled:
                step = step or self._dispatch.next(monotonic())
                if isinstance(step, Attempt):
                    return self._begin(step)
                wait(self._dispatch.state.discovery, step)
                step = None
        except grpc.RpcError as error:
            self._end(error)
        except Exception as error:  # noqa: BLE001 - see `status_of`
            self._end(EndedCall(*status_of(error)))

    def _end(self, call: Any) -> bool:
        """It ended as this call did. Return whether it had not ended before."""
        with self._lock:
            if self._ended:
                return False
            self._call, self._ended = call, True
            self._changed.notify_all()
        self._run_callbacks()
        return True

    def cancel(self) -> bool:
        with self._lock:
            if self._ended:
                return False
            self._cancelled, call = True, self._call
        if call is not None and call.cancel():
            self._end(call)  # if gRPC's thread has not done so already
            return True
        if call is not None and call.code() is not StatusCode.UNAVAILABLE:
            return False  # that is the answer
        return self._end(EndedCall(*LOCALLY_CANCELLED))

    def _current(self) -> Any:
        """Return the call on a pod, or how it ended, once there is one."""
        with self._lock:
            self._changed.wait_for(lambda: self._call is not None)
            return self._call

    def _stands(self, call: Any) -> bool:
        """Whether there is no attempt after this one, which has ended."""
        with self._lock:
            self._changed.wait_for(lambda: self._ended or self._call is not call)
            return self._call is call

    def _last(self, timeout: float | None = None) -> Any:
        """Return the call of the last attempt once it has ended."""
        with self._lock:
            if not self._changed.wait_for(lambda: self._ended, timeout):
                raise grpc.FutureTimeoutError
            return self._call
