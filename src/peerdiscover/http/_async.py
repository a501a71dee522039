"""The transport for `httpx.AsyncClient`. Its twin is `_sync`: neither decides anything."""

from __future__ import annotations

from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from peerdiscover.discovery._changes import Pause
from peerdiscover.pickers import Picker

from ._attempts import CURRENT_ATTEMPT, Attempt, PodPool
from ._connections import AsyncPodBackend
from ._dispatch import Dispatch
from ._httpx import libraries
from ._options import TransportOptions
from ._state import TransportState

if TYPE_CHECKING:
    import httpx

    from peerdiscover.discovery.aio import AsyncDiscovery

    _Base = httpx.AsyncBaseTransport
else:
    # Both libraries' own class, where both are there: their clients may look for it.
    _Base = type("_Base", tuple(library.api.AsyncBaseTransport for library in libraries()), {})

__all__ = ["AsyncPodTransport"]


class AsyncPodTransport(_Base):
    """Sends each request to a pod of a discovered service, and to another one where that is safe.

        async with AsyncDiscovery("web-headless.prod:8080") as web:
            client = httpx.AsyncClient(mounts={"http://web-headless": AsyncPodTransport(web)})

    For asyncio and trio. The arguments, and what comes back, are those of `PodTransport`.
    """

    def __init__(
        self,
        discovery: AsyncDiscovery,
        *,
        picker: Picker | None = None,
        host: Literal["service", "peer"] = "service",
        verify: Any = True,
        cert: Any = None,
        trust_env: bool = True,
        http1: bool = True,
        http2: bool = False,
        limits: Any = None,
        attempts: int = 3,
        budget: float = 0.2,
        connect_timeout: float = 0.5,
        attempt_timeout: float | None = None,
        total_timeout: float | None = None,
        retry_503: bool = False,
        drain: float = 30.0,
    ) -> None:
        ways = TransportOptions(
            host=host,
            attempts=attempts,
            budget=budget,
            connect_timeout=connect_timeout,
            attempt_timeout=attempt_timeout,
            total_timeout=total_timeout,
            retry_503=retry_503,
            drain=drain,
        )
        options = {
            "verify": verify,
            "cert": cert,
            "trust_env": trust_env,
            "http1": http1,
            "http2": http2,
            "limits": limits,
        }
        self._discovery = discovery
        self._shared = TransportState(discovery, ways, picker, _pool, options)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it; see the class."""
        shared = self._shared
        for pool in shared.pods.closing():
            await pool.aclose()
        call = Dispatch(shared, request)
        while True:
            step = call.next()
            if isinstance(step, Pause):
                await self._wait(step)
                continue
            under_way = CURRENT_ATTEMPT.set(step)
            try:
                answer = await step.pod.pool.handle_async_request(call.request_for(step))
            except BaseException as error:
                final = call.failed(step, error)
                if final is error:
                    raise
                if final is not None:
                    raise final from error
                continue
            finally:
                CURRENT_ATTEMPT.reset(under_way)
            if call.answered(step, answer) is None:
                response: httpx.Response = call.response(
                    step, answer, call.library.AsyncStream, partial(self._over, step)
                )
                return response
            try:
                await answer.aclose()
            finally:
                shared.pods.end(step)

    async def _over(self, attempt: Attempt) -> None:
        if self._shared.pods.end(attempt):
            for pool in self._shared.pods.closing():
                await pool.aclose()

    async def _wait(self, pause: Pause) -> None:
        """Until the set is another one, or the pause is over."""
        async for change in self._discovery.changes(timeout=pause.seconds):
            if change.after.generation != pause.generation:
                return

    async def aclose(self) -> None:
        """Close all connections. The discovery stays open."""
        for pool in self._shared.pods.close():
            await pool.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()


def _pool(core: Any, pod: PodPool, options: dict[str, Any]) -> Any:
    return core.AsyncConnectionPool(network_backend=AsyncPodBackend(core, pod), **options)
