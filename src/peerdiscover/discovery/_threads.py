"""How a discovery waits and asks in threads; its twin is `_tasks`.

Rules of this room:

* One thread refreshes. It never dies: whatever a source or a callback raises is an outcome, is
  logged, and the next question is due. A source that tells by itself has a second thread.
* The state is looked at with the lock held, and the lock is given up by waiting alone: so no news is missed.
* Who waits from within a callback does the refreshing thread's work meanwhile: it would wait for
  itself otherwise.
* After `os.fork()` the child keeps the set and gets a lock, pickers' places and a refreshing thread of
  its own. Locks are taken before the fork, so that the child finds the core whole.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from peerdiscover.answers import Answer, LookupRequest
from peerdiscover.sources import _calling

from ._base import State, _BaseDiscovery, log
from ._changes import Pause

__all__ = ["ThreadedRuntime"]


class ThreadedRuntime(_BaseDiscovery):
    """One lock, one thread that refreshes, and everybody else who waits."""

    _changed: threading.Condition
    """The lock, and the news that something changed under it."""
    _thread: threading.Thread | None = None
    _feeder: threading.Thread | None = None
    _cancellation: _calling.Cancellation
    _asking = False

    def _pause(self, pause: Pause) -> None:
        self._wait_until(lambda: self.peers.generation != pause.generation, pause.seconds)

    def _new_lock(self) -> threading.Condition:
        self._cancellation = _calling.Cancellation()
        self._changed = threading.Condition()
        return self._changed

    def _now(self) -> float:
        return time.monotonic()

    def _wake(self) -> None:
        self._changed.notify_all()

    def _wait_until(self, ready: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until `ready` (asked with the lock held); False when `timeout` seconds are over."""
        end = math.inf if timeout is None else self._now() + timeout
        with self._lock:
            while not ready():
                self._require_open()
                left = end - self._now()
                if left <= 0:
                    return False
                due: LookupRequest | float = math.inf
                if threading.current_thread() is self._thread:
                    if self._asking:
                        raise RuntimeError("a source cannot wait for what it is asked for itself")
                    due = self._due()
                if isinstance(due, LookupRequest):
                    self._ask(due)
                else:
                    self._changed.wait(min(due, left, threading.TIMEOUT_MAX))
        return True

    def _begin_refreshing(self) -> None:
        self._core.start(self._now())
        self._thread = threading.Thread(target=self._run, name=f"peerdiscover {self._service}", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while self._go_on():
            self._publish_pending()
        self._publish_pending()

    def _go_on(self) -> bool:
        """Ask what is due, or wait for it; False at the end."""
        with self._lock:
            if self._state is not State.OPEN or self._thread is not threading.current_thread():
                return False  # in the child of a fork that came from a callback another thread goes on
            due = self._due()
            if isinstance(due, LookupRequest):
                self._ask(due)
            elif not self._has_pending():
                self._changed.wait(min(due, threading.TIMEOUT_MAX))
        return True

    def _ask(self, ask: LookupRequest) -> None:
        """Ask and take the answer in, or begin to watch. The lock is given up meanwhile."""
        began = self._now()
        ask = replace(ask, on_cancelled=self._cancellation.add_callback)
        if self._core.watched:
            name = f"peerdiscover watch {self._service}"
            self._feeder = threading.Thread(target=self._feed, args=(ask,), name=name, daemon=True)
            try:
                self._feeder.start()
            except RuntimeError as error:  # no more threads
                self._watch_ended(_calling.failed(error))
            return
        self._asking, lock = True, self._changed
        lock.release()
        try:
            answer = _calling.pull(self._source, ask)
        finally:
            lock.acquire()
            self._asking = False
        self._take(answer, self._now() - began)

    def _feed(self, ask: LookupRequest) -> None:
        """Hand on what a source tells by itself, until it ends."""

        def take(answer: Answer) -> None:
            with self._lock:
                self._watch_told(answer)

        ended = _calling.follow(self._source, ask, take)
        with self._lock:
            self._watch_ended(ended)

    def _join(self) -> None:
        """Wake a source that blocks, and wait for the threads to end, if not for ever."""
        self._cancellation.cancel()
        for thread in (self._thread, self._feeder):
            if thread is None or not thread.is_alive() or thread is threading.current_thread():
                continue
            thread.join(self._policy.timeout + 1)
            if thread.is_alive():
                log.warning("%s: the source did not return; its thread is left behind", self._service)

    # For `_forks`

    def _after_fork_in_child(self) -> None:
        self._lock = self._new_lock()
        self._thread = self._feeder = None
        self._asking = False
        if self._state is State.OPEN:
            for picker in self._pickers.values():
                picker.after_fork()
            self._begin_refreshing()
