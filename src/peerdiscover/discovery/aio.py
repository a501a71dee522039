"""`AsyncDiscovery`, for asyncio and trio; its twin is `sync`.

Invariants:

* No call decides anything: it asks the runtime (`_tasks`) and waits.
* Any task of the event loop may start and close it, in any order.
* An exception from the body of `async with` comes out as itself, not wrapped in a group.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar, Unpack

import anyio

from peerdiscover.peers import Change, Peer, PeerSet

from ._base import _BaseDiscovery
from ._drivers import broadcast_in_tasks
from ._tasks import Changes, TaskRuntime
from ._user_code import awaitable, check_callable
from .attempts import AsyncAttempts, FailoverOptions
from .broadcast import Late, Receipt

if TYPE_CHECKING:
    from tenacity.stop import StopBaseT
    from tenacity.wait import WaitBaseT

    from peerdiscover.pickers import Picker

T = TypeVar("T")


class AsyncDiscovery(_BaseDiscovery[TaskRuntime]):
    """The pods behind a service, kept up to date, for asyncio and trio.

        async with AsyncDiscovery("web-headless.prod:8080") as web:
            peer = web.round_robin().pick()

    The arguments are those of `Discovery`; a source's `lookup` may be a coroutine function. Entering waits
    as `Discovery` does. `start()` and `aclose()` do the same without a block, from any task. It belongs to
    one event loop, which closes it at its end, and is not to be used from other threads.
    """

    _new_runtime = TaskRuntime

    async def start(self, wait: bool = True) -> Self:
        """Begin refreshing and, unless `wait` is false, wait as entering does; `aclose()` ends it.

        One that is open is left as it is: a second `start` only waits, if the first one still does.
        """
        await self._runtime.start(self._identity, wait)
        return self

    async def aclose(self) -> None:
        """End refreshing; the set stays readable. May be called twice, and from any task."""
        await self._runtime.aclose()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.aclose()
        except anyio.get_cancelled_exc_class():
            if error is None:
                raise

    async def refresh(self) -> PeerSet:
        """Ask now; the set after a lookup that began after this call, failed or not. Callers share one."""
        await self._runtime.refresh()
        return self.peers

    async def wait(
        self, min_peers: int = 1, timeout: float | None = None, include_self: bool = True
    ) -> PeerSet:
        """The set, once it has `min_peers` (with 0: once there was any evidence).

        `ResolutionTimeoutError` after `timeout` seconds says how many there were.
        """
        await self._runtime.wait(min_peers, timeout, include_self)
        return self.peers

    def changes(self, timeout: float | None = None) -> AsyncIterator[Change]:
        """Each change; the first adds what is known now, and waits for a peer if none is.

        A slow reader gets several as one. It ends with the discovery, or after `timeout` quiet seconds.
        """
        return Changes(self._reader(timeout), self._runtime.wait_until, timeout)

    async def broadcast(
        self,
        call: Callable[[Peer], Awaitable[T]],
        *,
        late: Late = "report",
        timeout: float | None = None,
        limit: int = 32,
        include_self: bool = False,
    ) -> Receipt[T]:
        """Call `await call(peer)` for every peer, at most `limit` at a time, each in a task.

        The `Receipt` has the results and the errors by peer. A call that has not finished after `timeout`
        seconds is cancelled and counts as failed. `late` as with `Discovery.broadcast`.
        """
        steps = self._broadcast(late, timeout, limit, include_self)
        return await broadcast_in_tasks(self._runtime, steps, call, timeout)

    def attempts(
        self,
        on: type[Exception] | tuple[type[Exception], ...],
        *,
        stop: StopBaseT | None = None,
        wait: WaitBaseT | None = None,
        picker: Picker | None = None,
        key: str | bytes | None = None,
        ordinal: int | None = None,
    ) -> AsyncAttempts:
        """Failover: `async for attempt in web.attempts(on=OSError): with attempt as peer: …`

        `stop` and `wait` are tenacity's; by default 30 s in all, and 0.1 to 5 s between rounds. With `key`
        all attempts go to the peer that owns it (see `rendezvous`), with `ordinal` to that pod; if it leaves
        the set, they wait until it is back.
        """
        return AsyncAttempts(self._failover(on, stop, wait, picker, key, ordinal), self._runtime.pause)

    async def call(
        self,
        fn: Callable[[Peer], Awaitable[T]],
        on: type[Exception] | tuple[type[Exception], ...],
        **options: Unpack[FailoverOptions],
    ) -> T:
        """The result of `await fn(peer)`, with failover. The `options` are those of `attempts`."""
        check_callable("call", fn)
        async for attempt in self.attempts(on, **options):
            with attempt as peer:
                return await awaitable(fn(peer))
        raise AssertionError  # not reached: `attempts` raises the last failure
