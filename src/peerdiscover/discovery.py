"""The shell for threads: it waits, asks the source, and hands the answer to the core.

Rules of this room:

* One thread refreshes. It never dies: whatever a source or a callback raises is an outcome, is
  logged, and the next question is due. A source that tells by itself has a second thread.
* Who waits from within a callback does the refreshing thread's work meanwhile: it would wait for
  itself otherwise.
* After `os.fork()` the child keeps the set and gets a lock, pickers' places and a refreshing thread of
  its own. Locks are taken before the fork, so that the child finds the core whole.
* At the end of the process what is still open is closed.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from . import _processes
from .answers import Answer, Ask
from .attempts import Attempts, Pause
from .broadcast import Broadcast, Receipt, in_threads
from .peers import Change, Peer, PeerSet
from .sources import asking
from .surface import Reader, State, Surface, identity_for, log

if TYPE_CHECKING:
    from tenacity.stop import StopBaseT
    from tenacity.wait import WaitBaseT

    from .pickers import Picker

__all__ = ["Discovery"]

T = TypeVar("T")


class Discovery(Surface):
    """The pods behind a service, kept up to date, for threads.

        with Discovery("web-headless.prod:8080") as web:
            peer = web.round_robin().pick()

    `service` is a name as `ServiceName` reads it. `source` is a `DNS`, a `Static`, a callable without
    arguments that returns addresses, or any object with the `Source` protocol; without one the name
    says it. `me` says which pod is oneself, where that cannot be found out.

    Entering begins refreshing and waits until `policy.min_peers` are known, at most
    `policy.ready_timeout` seconds; then it raises `ResolutionTimeoutError`. What cannot work at all
    raises `ConfigurationError`. It may be used from any thread, and across `os.fork()`.
    """

    _changed: threading.Condition
    """The lock, and the news that something changed under it."""
    _thread: threading.Thread | None = None
    _feeder: threading.Thread | None = None

    def start(self) -> Self:
        """Begin refreshing and wait for the first peers, as entering does; `close()` ends it."""
        identity = identity_for(self._service, self._me)
        with self._lock:
            if self._state is not State.NEW:
                raise self._closed_error()
            self._core = self._new_core(identity)
            self._state = State.OPEN
        _processes.opened(self)
        try:
            with self._lock:
                self._begin_refreshing()
            self.wait(self._policy.min_peers, self._policy.ready_timeout)
        except BaseException:
            self.close()
            raise
        return self

    def close(self) -> None:
        """End refreshing; the set stays readable. May be called twice, and from a callback."""
        with self._lock:
            self._end()
            self._wake()
            threads = [thread for thread in (self._thread, self._feeder) if thread and thread.is_alive()]
        _processes.closed(self)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(self._policy.timeout + 1)
                if thread.is_alive():
                    log.warning("%s: the source did not return; its thread is left behind", self._service)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def refresh(self) -> PeerSet:
        """Ask now; the set after a lookup that began after this call, a failed one too (see `status`).

        Callers that wait together share one lookup.
        """
        with self._lock:
            self._require_open()
            wanted = self._core.request(self._now())
            self._wake()
        self._wait_until(lambda: self._core.finished >= wanted, None)
        return self.peers

    def wait(self, min_peers: int = 1, timeout: float | None = None, include_self: bool = True) -> PeerSet:
        """The set, once it has `min_peers` (with 0: once there was any evidence).

        `ResolutionTimeoutError` after `timeout` seconds says how many there were.
        """
        self._require_open()
        began = self._now()
        if not self._wait_until(lambda: self._there(min_peers, include_self), timeout):
            raise self._too_few(min_peers, include_self, began)
        return self.peers

    def changes(self, timeout: float | None = None) -> Iterator[Change]:
        """Each change; the first adds what is known now, waiting for somebody if nobody is.

        A slow reader gets several changes as one. The iterator ends when the discovery is closed, or
        when no change came for `timeout` seconds.
        """
        return self._changes(Reader(self), timeout)

    def _changes(self, reader: Reader, timeout: float | None) -> Iterator[Change]:
        while self._wait_until(reader.ready, timeout) and reader.change is not None:
            yield reader.change

    def broadcast(
        self,
        call: Callable[[Peer], T],
        *,
        timeout: float | None = None,
        limit: int = 32,
        include_self: bool = False,
    ) -> Receipt[T]:
        """Call `call(peer)` for every peer, at most `limit` at a time, each in a thread.

        The `Receipt` says who answered and who failed. What is not done after `timeout` seconds
        counts as failed; its thread runs on, and its result is discarded.
        """
        steps: Broadcast[T] = self._broadcast(limit, include_self)
        in_threads(steps, call, timeout)
        return steps.receipt(self.peers, timeout)

    def attempts(
        self,
        on: type[Exception] | tuple[type[Exception], ...],
        *,
        stop: StopBaseT | None = None,
        wait: WaitBaseT | None = None,
        picker: Picker | None = None,
    ) -> Attempts:
        """Failover: `for attempt in web.attempts(on=OSError): with attempt as peer: …`

        `stop` and `wait` are tenacity's; by default 30 s in all, and 0.1 to 5 s between rounds.
        """
        self._require_open()
        return Attempts(self._failover(on, stop, wait, picker), self._pause)

    def _pause(self, pause: Pause) -> None:
        self._wait_until(lambda: self.peers.generation != pause.generation, pause.seconds)

    # Waiting and refreshing

    def _new_lock(self) -> threading.Condition:
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
                due = self._due() if threading.current_thread() is self._thread else math.inf
                if isinstance(due, Ask):
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
            self._tell_news()
        self._tell_news()

    def _go_on(self) -> bool:
        """Ask what is due, or wait for it; False at the end."""
        with self._lock:
            if self._state is not State.OPEN or self._thread is not threading.current_thread():
                return False  # in the child of a fork that came from a callback another thread goes on
            due = self._due()
            if isinstance(due, Ask):
                self._ask(due)
            elif not self._has_news():
                self._changed.wait(min(due, threading.TIMEOUT_MAX))
        return True

    def _ask(self, ask: Ask) -> None:
        """Ask and take the answer in, or begin to watch. The lock is given up meanwhile."""
        began = self._now()
        if self._core.watched:
            self._feeder = threading.Thread(
                target=self._feed, args=(ask,), name=f"peerdiscover watch {self._service}", daemon=True
            )
            try:
                self._feeder.start()
            except RuntimeError as error:  # no more threads
                self._watch_ended(asking.failed(error))
            return
        lock = self._changed
        lock.release()
        try:
            answer = asking.lookup(self._source, ask)
        finally:
            lock.acquire()
        self._take(answer, self._now() - began)

    def _feed(self, ask: Ask) -> None:
        """Hand on what a source tells by itself, until it ends."""

        def take(answer: Answer) -> None:
            with self._lock:
                self._take(answer)

        ended = asking.watch(self._source, ask, take)
        with self._lock:
            self._watch_ended(ended)

    # For `_processes`

    def _after_fork_in_child(self) -> None:
        self._lock = self._new_lock()
        self._thread = self._feeder = None
        if self._state is State.OPEN:
            for picker in self._pickers.values():
                picker.forked()
            self._begin_refreshing()

    def _at_exit(self) -> None:
        self.close()
