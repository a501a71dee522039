"""The transport for `httpx.AsyncClient`. Its twin is `_sync`: neither decides anything."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Unpack

import anyio

from peerdiscover.discovery._changes import Pause
from peerdiscover.discovery._user_code import check_discovery
from peerdiscover.discovery.aio import AsyncDiscovery

from ._attempts import CURRENT_ATTEMPT, Attempt
from ._connections import AsyncPodBackend
from ._httpx import libraries
from ._httpx_dispatch import HttpxDispatch
from ._httpx_state import HttpxState
from ._options import TransportOptions, TransportSettings
from ._pauses import wait_async

if TYPE_CHECKING:
    import httpcore
    import httpx

    _Base = httpx.AsyncBaseTransport
else:
    # The class of both libraries, if both are loaded: their clients may check for it.
    _Base = type("_Base", tuple(library.api.AsyncBaseTransport for library in libraries()), {})


class AsyncPodTransport(_Base):
    """Sends each request to a pod of a discovered service, and to another one if that is safe.

        async with AsyncDiscovery("web-headless.prod:8080") as web:
            client = httpx.AsyncClient(mounts={"http://web-headless": AsyncPodTransport(web)})

    For asyncio and trio. The options, and what comes back, are those of `PodTransport`.
    """

    def __init__(self, discovery: AsyncDiscovery, **options: Unpack[TransportOptions]) -> None:
        check_discovery(discovery, AsyncDiscovery)
        self._discovery = discovery
        self._state = HttpxState(
            discovery,
            TransportSettings(**options),
            lambda core, pod, options: core.AsyncConnectionPool(
                network_backend=AsyncPodBackend(core, pod), **options
            ),
            anyio.current_time,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it; see the class."""
        pools = self._state.pools
        if pools.leaving:
            for pool in pools.closable():
                await pool.aclose()
        now = anyio.current_time()
        dispatch = HttpxDispatch(self._state, request, now)
        while True:
            step = dispatch.next(now)
            if isinstance(step, Pause):
                await wait_async(self._discovery, step)
                now = anyio.current_time()
                continue
            token = CURRENT_ATTEMPT.set(step)
            try:
                response: httpcore.Response = await step.pod.pool.handle_async_request(
                    dispatch.request_for(step)
                )
            except BaseException as error:
                now = anyio.current_time()
                final = dispatch.failed(step, error, now)
                if final is error:
                    raise
                if final is not None:
                    raise final from error
                continue
            finally:
                CURRENT_ATTEMPT.reset(token)
            now = anyio.current_time()
            if dispatch.answered(step, response, now):
                on_close = partial(self._on_close, step)
                return dispatch.response(step, response, dispatch.library.AsyncStream, on_close)
            try:
                await response.aclose()
            finally:
                pools.end_attempt(step)

    async def _on_close(self, attempt: Attempt) -> None:
        if self._state.pools.end_attempt(attempt):
            for pool in self._state.pools.closable():
                await pool.aclose()

    async def aclose(self) -> None:
        """Close all connections. The discovery stays open."""
        for pool in self._state.pools.close():
            await pool.aclose()
