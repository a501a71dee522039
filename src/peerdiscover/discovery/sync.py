"""The shell for threads: what a caller sees of it, and its twin is `aio`.

Rules of this room:

* No call decides anything: it asks the core (`membership`, by way of `_base`, which says what may
  be called when) and waits (`_threads`).
* At the end of the process what is still open is closed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from peerdiscover import _forks
from peerdiscover.peers import Change, Peer, PeerSet

from ._changes import ChangeReader
from ._threads import ThreadedRuntime

if TYPE_CHECKING:
    from tenacity.stop import StopBaseT
    from tenacity.wait import WaitBaseT

    from peerdiscover.pickers import Picker

    from .attempts import Attempts
    from .broadcast import Broadcast, Late, Receipt, RollingBroadcast

__all__ = ["Discovery"]

T = TypeVar("T")


class Discovery(ThreadedRuntime):
    """The pods behind a service, kept up to date, for threads.

        with Discovery("web-headless.prod:8080") as web:
            peer = web.round_robin().pick()

    `service` is a name as `ServiceName` reads it. `source` is any object with the `Source` protocol, or
    a callable that returns addresses; without one the name says it. `me`: which pod is oneself.

    Entering begins refreshing and waits until `policy.min_peers` are known, at most
    `policy.ready_timeout` seconds; then it raises `ResolutionTimeoutError`. What cannot work at all
    raises `ConfigurationError`. It may be used from any thread, and across `os.fork()`.
    """

    def start(self, *, wait: bool = True) -> Self:
        """Begin refreshing and, unless `wait` is false, wait as entering does; `close()` ends it."""
        with self._lock:
            self._become_open()
        _forks.opened(self)
        try:
            with self._lock:
                self._begin_refreshing()
            if wait:
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
        _forks.closed(self)
        self._join()

    _at_exit = close  # of the process

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def refresh(self) -> PeerSet:
        """Ask now; the set after a lookup that began after this call, failed or not. Callers share one."""
        with self._lock:
            self._require_open()
            wanted = self._core.request(self._now())
            self._wake()
        self._wait_until(lambda: self._core.completed >= wanted, None)
        return self.peers

    def wait(self, min_peers: int = 1, timeout: float | None = None, include_self: bool = True) -> PeerSet:
        """The set, once it has `min_peers` (with 0: once there was any evidence).

        `ResolutionTimeoutError` after `timeout` seconds says how many there were.
        """
        self._require_open()
        began = self._now()
        if not self._wait_until(lambda: self._there(min_peers, include_self), timeout):
            raise self._timeout_error(min_peers, include_self, began)
        return self.peers

    def changes(self, timeout: float | None = None) -> Iterator[Change]:
        """Each change; the first adds what is known now, waiting for somebody if nobody is.

        A slow reader gets several as one. It ends with the discovery, or after `timeout` quiet seconds.
        """
        return self._changes(self._reader(), timeout)

    def _changes(self, reader: ChangeReader, timeout: float | None) -> Iterator[Change]:
        while self._wait_until(reader.ready, timeout) and reader.change is not None:
            yield reader.change

    def broadcast(
        self,
        call: Callable[[Peer], T],
        *,
        late: Late = "report",
        timeout: float | None = None,
        limit: int = 32,
        include_self: bool = False,
    ) -> Receipt[T]:
        """Call `call(peer)` for every peer, at most `limit` at a time, each in a thread.

        The `Receipt` has the results and the errors by peer. A call that has not finished after `timeout`
        seconds counts as failed; its thread runs on, and its result is discarded. Peers that join while it
        runs are listed in the receipt, or with `late="include"` called, too: until the set has stayed the
        same for the time between two lookups. A coroutine function raises `ConfigurationError`.
        """
        from ._drivers import broadcast_in_threads  # few programs broadcast, so it is loaded here

        steps: Broadcast[T] | RollingBroadcast[T] = self._broadcast(late, timeout, limit, include_self)
        return broadcast_in_threads(self, steps, call, timeout)

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
        from .attempts import Attempts  # as above

        self._require_open()
        return Attempts(self._failover(on, stop, wait, picker), self._pause)
