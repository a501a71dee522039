"""The shell for asyncio and trio: what a caller sees of it, and its twin is `discovery`.

Rules of this room:

* No call decides anything: it asks the core (`membership`, by way of `_base`) and waits
  (`_tasks`).
* An exception from the body of `async with` comes out as itself, not wrapped in a group.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

import anyio

from peerdiscover import _forks
from peerdiscover.peers import Change, Peer, PeerSet

from ._drivers import broadcast_in_tasks
from ._tasks import Changes, TaskRuntime
from .attempts import AsyncAttempts
from .broadcast import Broadcast, Late, Receipt, RollingBroadcast

if TYPE_CHECKING:
    from tenacity.stop import StopBaseT
    from tenacity.wait import WaitBaseT

    from peerdiscover.pickers import Picker

__all__ = ["AsyncDiscovery"]

T = TypeVar("T")


class AsyncDiscovery(TaskRuntime):
    """The pods behind a service, kept up to date, for asyncio and trio.

        async with AsyncDiscovery("web-headless.prod:8080") as web:
            peer = web.round_robin().pick()

    The arguments are those of `Discovery`; a source's `lookup` may be a coroutine function. Entering
    waits as `Discovery` does. It belongs to one event loop and is not to be used from other threads.
    """

    async def __aenter__(self) -> Self:
        self._become_open()
        self._changed = anyio.Event()
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        _forks.opened(self)
        self._begin_refreshing()
        try:
            await self.wait(self._policy.min_peers, self._policy.ready_timeout)
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()
        self._wake()
        _forks.closed(self)
        self._tasks.cancel_scope.cancel()
        try:
            # The group is not told what the body raised: that goes on as itself, wrapped in nothing.
            await self._tasks.__aexit__(None, None, None)
        except anyio.get_cancelled_exc_class():
            if error is None:
                raise
        finally:
            self._publish_pending()

    async def refresh(self) -> PeerSet:
        """Ask now; the set after a lookup that began after this call, failed or not. Callers share one."""
        self._require_open()
        wanted = self._core.request(self._now())
        self._wake()
        await self._wait_until(lambda: self._core.completed >= wanted, None)
        return self.peers

    async def wait(
        self, min_peers: int = 1, timeout: float | None = None, include_self: bool = True
    ) -> PeerSet:
        """The set, once it has `min_peers` (with 0: once there was any evidence).

        `ResolutionTimeoutError` after `timeout` seconds says how many there were.
        """
        self._require_open()
        began = self._now()
        if not await self._wait_until(lambda: self._there(min_peers, include_self), timeout):
            raise self._timeout_error(min_peers, include_self, began)
        return self.peers

    def changes(self, timeout: float | None = None) -> AsyncIterator[Change]:
        """Each change; the first adds what is known now, waiting for somebody if nobody is.

        A slow reader gets several as one. It ends with the discovery, or after `timeout` quiet seconds.
        """
        return Changes(self._reader(), self._wait_until, timeout)

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
        steps: Broadcast[T] | RollingBroadcast[T] = self._broadcast(late, timeout, limit, include_self)
        return await broadcast_in_tasks(self, steps, call, timeout)

    def attempts(
        self,
        on: type[Exception] | tuple[type[Exception], ...],
        *,
        stop: StopBaseT | None = None,
        wait: WaitBaseT | None = None,
        picker: Picker | None = None,
    ) -> AsyncAttempts:
        """Failover: `async for attempt in web.attempts(on=OSError): with attempt as peer: …`

        `stop` and `wait` are tenacity's; by default 30 s in all, and 0.1 to 5 s between rounds.
        """
        self._require_open()
        return AsyncAttempts(self._failover(on, stop, wait, picker), self._pause)
