"""`Discovery`, for threads; its twin is `aio`.

Invariants:

* No call decides anything: it asks the runtime (`_threads`) and waits.
* At the end of the process, the runtime of one that is still open closes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar, Unpack

from peerdiscover.peers import Change, Peer, PeerSet

from ._base import _BaseDiscovery
from ._threads import ThreadedRuntime
from ._user_code import check_function, finished

if TYPE_CHECKING:
    from tenacity.stop import StopBaseT
    from tenacity.wait import WaitBaseT

    from peerdiscover.pickers import Picker

    from .attempts import Attempts, FailoverOptions
    from .broadcast import Late, Receipt

T = TypeVar("T")


class Discovery(_BaseDiscovery[ThreadedRuntime]):
    """The pods behind a service, kept up to date, for threads.

        with Discovery("web-headless.prod:8080") as web:
            peer = web.round_robin().pick()

    `service` is a name as `ServiceName` reads it. `source` is any object with the `Source` protocol, or
    a callable that returns addresses; without one the name says it. `me` says which pod this is.

    Entering begins refreshing and waits until `policy.min_peers` are known, at most
    `policy.ready_timeout` seconds; then it raises `ResolutionTimeoutError`. What cannot work at all
    raises `ConfigurationError`. It may be used from any thread, and across `os.fork()`.
    """

    _new_runtime = ThreadedRuntime

    def start(self, wait: bool = True) -> Self:
        """Begin refreshing and, unless `wait` is false, wait as entering does; `close()` ends it.

        One that is open is left as it is: a second `start` only waits, if the first one still does.
        """
        self._runtime.start(self._identity, wait)
        return self

    def close(self) -> None:
        """End refreshing; the set stays readable. May be called twice, and from a callback."""
        self._runtime.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def refresh(self) -> PeerSet:
        """Ask now; the set after a lookup that began after this call, failed or not. Callers share one."""
        self._runtime.refresh()
        return self.peers

    def wait(self, min_peers: int = 1, timeout: float | None = None, include_self: bool = True) -> PeerSet:
        """The set, once it has `min_peers` (with 0: once there was any evidence).

        `ResolutionTimeoutError` after `timeout` seconds says how many there were.
        """
        self._runtime.wait(min_peers, timeout, include_self)
        return self.peers

    def changes(self, timeout: float | None = None) -> Iterator[Change]:
        """Each change; the first adds what is known now, and waits for a peer if none is.

        A slow reader gets several as one. It ends with the discovery, or after `timeout` quiet seconds.
        """
        return self._runtime.changes(self._reader(timeout), timeout)

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

        steps = self._broadcast(late, timeout, limit, include_self)
        return broadcast_in_threads(self._runtime, steps, call, timeout)

    def attempts(
        self,
        on: type[Exception] | tuple[type[Exception], ...],
        *,
        stop: StopBaseT | None = None,
        wait: WaitBaseT | None = None,
        picker: Picker | None = None,
        key: str | bytes | None = None,
        ordinal: int | None = None,
    ) -> Attempts:
        """Failover: `for attempt in web.attempts(on=OSError): with attempt as peer: …`

        `stop` and `wait` are tenacity's; by default 30 s in all, and 0.1 to 5 s between rounds. With `key`
        all attempts go to the peer that owns it (see `rendezvous`), with `ordinal` to that pod; if it leaves
        the set, they wait until it is back.
        """
        from .attempts import Attempts  # as above

        return Attempts(self._failover(on, stop, wait, picker, key, ordinal), self._runtime.pause)

    def call(
        self,
        fn: Callable[[Peer], T],
        on: type[Exception] | tuple[type[Exception], ...],
        **options: Unpack[FailoverOptions],
    ) -> T:
        """The result of `fn(peer)`, with failover. The `options` are those of `attempts`."""
        check_function("call", fn)
        for attempt in self.attempts(on, **options):
            with attempt as peer:
                return finished(fn(peer))
        raise AssertionError  # not reached: `attempts` raises the last failure
