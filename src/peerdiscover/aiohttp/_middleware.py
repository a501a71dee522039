"""The middleware for a session of aiohttp. It decides nothing.

Invariants:

* The connector sees a request to the pod's address, and keeps its connections under that. `Host`, the name in
  the certificate, `response.url`, cookies and redirects are those of the URL that was asked.
* A request is unsent until aiohttp calls its `send`, with the connection that it will write to; from then on
  it counts as sent, whatever aiohttp's error says. A kept connection that the pod has closed is not written
  to: on Linux TCP_INFO is read right before.
* Until `send` an attempt has the connect timeout, and thrice that with TLS, unless the connector is full:
  then it waits for a connection, and aiohttp's own timeouts limit that.
* A `TimeoutError` that is none of aiohttp's own is that of the session's `total`: there is no time left.
* An attempt ends when aiohttp gives the connection of its response back, or closes it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Unpack

from aiohttp import (
    ClientConnectionError,
    ClientRequest,
    ClientResponse,
    ConnectionTimeoutError,
    ServerTimeoutError,
    hdrs,
)
from yarl import URL

from peerdiscover._text import quoted
from peerdiscover.discovery._changes import Pause
from peerdiscover.discovery._user_code import check_discovery
from peerdiscover.discovery.aio import AsyncDiscovery
from peerdiscover.errors import ConfigurationError
from peerdiscover.http._attempts import Attempt, PodPool
from peerdiscover.http._options import PodOptions, TransportSettings
from peerdiscover.peers import Peer

from ._connections import PodConnection, before_write
from ._dispatch import AiohttpDispatch, AiohttpState

if TYPE_CHECKING:
    from aiohttp.client_middlewares import ClientHandlerType, ClientMiddlewareType
    from aiohttp.connector import Connection


def pods(
    discovery: AsyncDiscovery,
    *,
    idempotent: Callable[[ClientRequest], bool | None] | None = None,
    **options: Unpack[PodOptions],
) -> ClientMiddlewareType:
    """Return a middleware that sends each request to a pod of a service, and to another one if that is safe.

        async with AsyncDiscovery("web-headless.prod:8080") as web:
            session = aiohttp.ClientSession(middlewares=[pods(web)])

    Requests to other hosts go the usual way, so a session may have one for each service. Keep it for the life
    of a program. The discovery is yours. Times are seconds.

    * `idempotent`: called with a request that may have been processed; True: it may be sent again; False: it
      may not; None: its method and an `Idempotency-Key` say so (the default for all).
    * `picker`, `host`, `attempts`, `budget`, `connect_timeout`, `attempt_timeout`, `total_timeout`,
      `retry_503`, `drain`: as of `peerdiscover.http.PodTransport`. Without `total_timeout` attempts begin for
      30 s. The session's own timeouts hold, too.

    A response has the attribute `peerdiscover`, with `peer`, `attempts` and `failed`. An error is a
    `ServerTimeoutError`, or a `ClientConnectionError` whose `__cause__` is the last attempt's; its message
    and notes list all attempts. With no pod to send to: `AiohttpNoPeersError`. A URL of the service with
    another port: `AiohttpWrongPortError`.
    """
    check_discovery(discovery, AsyncDiscovery)
    if not (idempotent is None or callable(idempotent)):
        raise ConfigurationError(f"idempotent={quoted(idempotent)}: expected a function of a request")
    return _Middleware(discovery, idempotent, TransportSettings(**options))


class _Middleware:
    def __init__(
        self,
        discovery: AsyncDiscovery,
        idempotent: Callable[[ClientRequest], bool | None] | None,
        settings: TransportSettings,
    ) -> None:
        self._discovery = discovery
        self._idempotent = idempotent
        self._state = AiohttpState(discovery, settings, self._make_pod)

    def _make_pod(self, peer: Peer) -> PodPool:
        pod = PodPool(peer, self._state.settings.connect_timeout, False, None, None, time.monotonic)
        pod.pool = {}  # `PodConnection` by its transport; the connections themselves are the connector's
        return pod

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Send it; see `pods`."""
        state, url = self._state, request.url
        if not state.is_of_service(url.raw_host or ""):
            return await handler(request)
        self._forget_pools()
        now = time.monotonic()
        dispatch = AiohttpDispatch(state, request, self._idempotent, now)
        while True:
            step = dispatch.next(now)
            if isinstance(step, Pause):
                await self._wait(step)
                now = time.monotonic()
                continue
            try:
                response = await self._attempt(step, request, url, handler)
            except BaseException as error:
                if isinstance(step.connection, PodConnection):
                    step.connection.on_failed()
                now = time.monotonic()
                final = dispatch.failed(step, error, now)
                if final is error:
                    raise
                if final is not None:
                    raise final from error
                await request.close()  # a body that is still being written
                continue
            now = time.monotonic()
            if dispatch.answered(step, response, now):
                return self._given(dispatch, step, response)
            response.close()
            state.pools.end_attempt(step)

    async def _attempt(
        self, attempt: Attempt, request: ClientRequest, url: URL, handler: ClientHandlerType
    ) -> ClientResponse:
        """Return the response of the attempt's pod, whose body is not read yet."""
        peer, name, given = attempt.pod.peer, url.raw_host or "", request.server_hostname
        if self._state.uses_pod_names(name):
            name = peer.fqdn.rstrip(".") if peer.fqdn else peer.address
            request.headers[hdrs.HOST] = f"{name}:{peer.port}" if peer.fqdn else peer.hostport
        if is_tls := url.scheme in ("https", "wss"):
            request.server_hostname = given or name
        request.url = _at(peer, url)
        seconds = self._seconds_to_connect(request, attempt, is_tls)
        timeout = None if seconds is None else asyncio.timeout(seconds)
        send = request.send

        async def send_on(conn: Connection) -> ClientResponse:
            before_write(attempt, conn)
            if timeout is not None:
                left = attempt.within(None)
                timeout.reschedule(None if left is None else asyncio.get_running_loop().time() + left)
            return await send(conn)

        request.send = send_on  # type: ignore[method-assign]  # of this request; there is no hook
        try:
            if timeout is None:
                return await handler(request)
            async with timeout:
                return await handler(request)
        except TimeoutError as error:
            if timeout is None or not timeout.expired():
                raise
            if attempt.sent:
                raise ServerTimeoutError("no response in the time for this attempt") from error
            raise ConnectionTimeoutError(f"no connection in {seconds:.3g} s") from error
        finally:
            request.send = send  # type: ignore[method-assign]
            request.url, request.server_hostname = url, given

    def _seconds_to_connect(self, request: ClientRequest, attempt: Attempt, is_tls: bool) -> float | None:
        """Note that the attempt connects; return for how long it may. None: until aiohttp gives up.

        A timer costs as much as all the rest here, and is not needed for a kept connection.
        """
        now, pod = time.monotonic(), attempt.pod
        left = attempt.within(None)
        if left is None:
            for one in pod.pool.values():
                if one.is_kept(now):
                    return None
        if self._is_full(request, attempt):
            return left
        attempt.on_connect()
        return attempt.connect_within(None, 3 if is_tls else 1)

    def _is_full(self, request: ClientRequest, attempt: Attempt) -> bool:
        """Whether it may have to wait for a connection: so many requests are in flight already."""
        connector = request.session.connector
        if connector is None:
            return False
        if 0 < connector.limit_per_host < len(attempt.pod.attempts):
            return True
        return 0 < connector.limit < self._state.pools.in_flight

    def _given(self, dispatch: AiohttpDispatch, attempt: Attempt, response: ClientResponse) -> ClientResponse:
        """Return the response as the caller gets it."""
        response.peerdiscover = dispatch.history(attempt)  # type: ignore[attr-defined]
        if response.connection is None:  # it is read already
            self._on_end(dispatch, attempt, response)
        else:
            if isinstance(attempt.connection, PodConnection):
                attempt.connection.response = response
            response.connection.add_callback(partial(self._on_end, dispatch, attempt, response))
        return response

    def _on_end(self, dispatch: AiohttpDispatch, attempt: Attempt, response: ClientResponse) -> None:
        """The response has been read, or will not be."""
        error = response.content.exception()
        if error is not None and type(error) is not ClientConnectionError:  # that is: closed by the caller
            described = dispatch.body_failed(attempt, error)
            error.add_note(str(described or error))
        if isinstance(attempt.connection, PodConnection):
            attempt.connection.on_released()
        if self._state.pools.end_attempt(attempt):
            self._forget_pools()

    def _forget_pools(self) -> None:
        for _ in self._state.pools.closable():
            pass  # their connections are the connector's, which drops those that are closed

    async def _wait(self, pause: Pause) -> None:
        """Return once the set changed, or the pause ended."""
        async for change in self._discovery.changes(timeout=pause.seconds):
            if change.after.generation != pause.generation:
                return


def _at(peer: Peer, url: URL) -> URL:
    """Return the URL with the address of a pod."""
    return URL.build(
        scheme=url.scheme,
        authority=peer.hostport,
        path=url.raw_path,
        query_string=url.raw_query_string,
        encoded=True,
    )
