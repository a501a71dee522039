"""How a discovery waits and asks in threads; its twin is `_tasks`.

Invariants:

* One thread refreshes. It never dies: whatever a source or a callback raises is an outcome, is
  logged, and the next lookup is due. A source that is watched has a second thread.
* The state is read with the lock held, and only waiting releases the lock: so no wake-up is missed.
* What is entered is the lock itself, in C. A `Condition` is entered by Python code, and a signal handler
  that raises inside of that would leave the lock held for ever.
* A callback that waits does the refreshing thread's work meanwhile: it would wait for itself otherwise.
* After `os.fork()` the child keeps the set and gets a lock, pickers' places and a refreshing thread of
  its own. Locks are taken before the fork, so that the child finds the core whole.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

from peerdiscover import _forks
from peerdiscover.answers import Answer, LookupRequest
from peerdiscover.identity import Identity
from peerdiscover.peers import Change
from peerdiscover.sources import _calling
from peerdiscover.sources._failures import failed

from ._changes import ChangeReader, Pause
from ._publisher import log
from ._refresher import Refresher, State
from ._user_code import check_wait


class ThreadedRuntime(Refresher):
    """One lock, one thread that refreshes, and any number of threads that wait.

    Its methods without an underscore take the lock.
    """

    thread: threading.Thread | None = None
    """The thread that refreshes."""
    watch_thread: threading.Thread | None = None
    """The thread that watches, for a source that can be watched."""
    asking = False
    """The refreshing thread is in a lookup, without the lock."""

    def _create_lock(self) -> None:
        """Make a lock that no thread holds."""
        self._cancellation = _calling.Cancellation()
        self.lock = self._rlock = threading.RLock()
        self.changed = threading.Condition(self._rlock)

    def now(self) -> float:
        return time.monotonic()

    def _wake(self) -> None:
        self.changed.notify_all()

    def wait_until(self, ready: Callable[[], bool], timeout: float | None) -> bool:
        """Wait until `ready()`, called with the lock held; False after `timeout` seconds. Takes the lock."""
        end = math.inf if timeout is None else self.now() + timeout
        with self.lock:
            while not ready():
                self.require_open()
                left = end - self.now()
                if left <= 0:
                    return False
                due: LookupRequest | float = math.inf
                if threading.current_thread() is self.thread:
                    if self.asking:
                        raise RuntimeError("a source cannot wait for the answer that it has to give itself")
                    due = self._due()
                if isinstance(due, LookupRequest):
                    self._ask(due)
                else:
                    self.changed.wait(min(due, left, threading.TIMEOUT_MAX))
        return True

    def wait(self, min_peers: int, timeout: float | None, include_self: bool) -> None:
        check_wait(min_peers, timeout)
        self.require_open()
        began = self.now()
        if not self.wait_until(lambda: self._satisfied(min_peers, include_self), timeout):
            raise self._timeout_error(min_peers, include_self, began)

    def refresh(self) -> None:
        with self.lock:
            answered = self._request()
        self.wait_until(answered, None)

    def changes(self, reader: ChangeReader, timeout: float | None) -> Iterator[Change]:
        """What `reader` reads, until the end or `timeout` quiet seconds."""
        while self.wait_until(reader.ready, timeout) and reader.change is not None:
            yield reader.change

    def pause(self, pause: Pause) -> None:
        self.wait_until(lambda: self.peers.generation != pause.generation, pause.seconds)

    def _begin(self) -> None:
        self.core.start(self.now())
        self.thread = threading.Thread(target=self._run, name=f"peerdiscover {self.service}", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while self._step():
            self._publish()
        self._publish()

    def _step(self) -> bool:
        """Make the lookup that is due, or wait for it; False at the end."""
        with self.lock:
            if self.state is not State.OPEN or self.thread is not threading.current_thread():
                return False  # in the child of a fork that came from a callback, another thread goes on
            due = self._due()
            if isinstance(due, LookupRequest):
                self._ask(due)
            elif not self._has_pending():
                self.changed.wait(min(due, threading.TIMEOUT_MAX))
        return True

    def _ask(self, request: LookupRequest) -> None:
        """Ask, and apply the answer, or begin to watch. Releases the lock meanwhile."""
        began = self.now()
        request = replace(request, on_cancelled=self._cancellation.add_callback)
        if self.core.watched:
            name = f"peerdiscover watch {self.service}"
            self.watch_thread = threading.Thread(target=self._watch, args=(request,), name=name, daemon=True)
            try:
                self.watch_thread.start()
            except RuntimeError as error:  # no more threads
                self._on_watch_end(failed(error))
            return
        self.asking, lock = True, self._rlock
        lock.release()
        try:
            answer = _calling.pull(self.source, request)
        finally:
            lock.acquire()
            self.asking = False
        self._on_answer(answer, self.now() - began)

    def _watch(self, request: LookupRequest) -> None:
        """Apply what a watch delivers, until it ends."""

        def on_answer(answer: Answer) -> None:
            with self.lock:
                self._on_watch_answer(answer)

        ended = _calling.follow(self.source, request, on_answer)
        with self.lock:
            self._on_watch_end(ended)

    def start(self, identity: Callable[[], Identity], wait: bool) -> None:
        with self.lock:
            opens = self._enter_start(identity)
        succeeded = False
        try:
            if opens:
                _forks.opened(self)
                with self.lock:
                    self._begin()
            if wait and not self.ready:
                self.wait(self.policy.min_peers, self.policy.ready_timeout, True)
                self.ready = True
            succeeded = True
        finally:
            with self.lock:
                close = self._leave_start(succeeded)
            if close:
                self.close()

    def close(self) -> None:
        with self.lock:
            self._end()
        _forks.closed(self)
        self._join()

    def _join(self) -> None:
        """Wake a source that blocks, and wait for the threads to end, but not for ever."""
        self._cancellation.cancel()
        for thread in (self.thread, self.watch_thread):
            if thread is None or not thread.is_alive() or thread is threading.current_thread():
                continue
            thread.join(min(self.policy.timeout + 1, threading.TIMEOUT_MAX))
            if thread.is_alive():
                log.warning("%s: the source did not return; its thread is left behind", self.service)

    # For `_forks`

    _at_exit = close

    def _before_fork(self) -> None:
        self._rlock.acquire()

    def _after_fork_in_parent(self) -> None:
        with suppress(RuntimeError):  # a signal handler that raised may have kept us from taking it
            self._rlock.release()

    def _after_fork_in_child(self) -> None:
        self._create_lock()
        self.thread = self.watch_thread = None
        self.asking = False
        if self.state is State.OPEN:
            self.pickers.after_fork()
            self._begin()
