"""The middleware for a session of aiohttp. It decides nothing.

Invariants:

* The connector sees a request to the pod's address, and keeps its connections under that. `Host`, the name in
  the certificate, `response.url`, cookies and redirects are those of the URL that was asked.
* A request is unsent until aiohttp calls its `send`, with the connection that it will write to; from then on
  it counts as sent, whatever aiohttp's error says.
* Nothing that a request is given refers to it once it was sent: it is large, and the garbage collector would
  have to find it.
* Until `send` an attempt has the connect timeout, and thrice that with TLS, unless the connector is full:
  then it waits for a connection, and aiohttp's own timeouts limit that.
* A `TimeoutError` that is none of aiohttp's own is that of the session's `total`: there is no time left.
* An attempt ends when aiohttp gives the connection of its response back, or closes it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from functools import partial
from types import MethodType
from typing import TYPE_CHECKING, Unpack

from aiohttp import (
    ClientConnectionError,
    ClientRequest,
    ClientResponse,
    ConnectionTimeoutError,
    ServerTimeoutError,
    hdrs,
)

from peerdiscover._text import quoted
from peerdiscover.discovery._changes import Pause
from peerdiscover.discovery._user_code import check_discovery
from peerdiscover.discovery.aio import AsyncDiscovery
from peerdiscover.errors import ConfigurationError
from peerdiscover.http._attempts import Attempt, PodPool
from peerdiscover.http._options import PodOptions, PodSettings
from peerdiscover.http._pauses import wait_async
from peerdiscover.peers import Peer

from ._connections import KEPT_FOR, PodConnection, PodConnections, send_on
from ._dispatch import AiohttpDispatch, AiohttpState, is_small

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
    return _Middleware(discovery, idempotent, PodSettings(**options))


class _Middleware:
    def __init__(
        self,
        discovery: AsyncDiscovery,
        idempotent: Callable[[ClientRequest], bool | None] | None,
        settings: PodSettings,
    ) -> None:
        self._discovery = discovery
        self._state = AiohttpState(discovery, settings, self._make_pod)
        self._state.marked = idempotent

    def _make_pod(self, peer: Peer) -> PodPool:
        pod = PodPool(peer, self._state.settings.connect_timeout, time.monotonic)
        pod.pool = PodConnections(peer)
        return pod

    async def __call__(self, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        """Send it; see `pods`. The usual request has one attempt, and needs no `AiohttpDispatch`."""
        state, url, send = self._state, request.url, request.send
        if not state.serves(url) or type(send) is not MethodType:  # another `pods` has directed it to a pod
            return await handler(request)
        if state.pools.leaving:
            self._forget_pools()
        now, dispatch = time.monotonic(), None
        host, name, body = url.raw_host or "", request.server_hostname, request.body
        attempt = state.first_attempt(now, state.settings.total_timeout, not body or is_small(body))
        while True:
            if attempt is None:
                dispatch = dispatch or AiohttpDispatch(state, request, now)
                attempt = await self._next(dispatch, now)
            pod, tls_name = attempt.pod, host
            if state.uses_pod_names(host):
                request.headers[hdrs.HOST], tls_name = pod.authority, pod.name
            request.url = pod.pool.at(url)
            request.send = partial(send_on, attempt, send)  # type: ignore[method-assign,assignment]  # no hook
            try:
                try:
                    is_kept = attempt.deadline == math.inf and pod.pool.has_kept(attempt.started_at)
                    if is_kept and url.scheme == "http":
                        response = await handler(request)
                    else:
                        response = await self._connect(request, tls_name, attempt, handler, is_kept)
                finally:  # the caller's `idempotent` is called with the request as it was
                    del request.send
                    request.url, request.server_hostname = url, name
            except BaseException as error:  # noqa: BLE001 - `_failed` raises it, or what it means
                dispatch, now = dispatch or AiohttpDispatch(state, request, now), time.monotonic()
                self._failed(dispatch, attempt, error, now)
                await request.close()  # a body that is still being written
                attempt = None
                continue
            now = time.monotonic()
            if dispatch is None and response.status != 503:
                state.discovery.report_success(pod.peer)
                # What `history_of` returns: this request makes no call that is not needed.
                response.peerdiscover = {"peer": pod.peer, "attempts": 1, "failed": ()}  # type: ignore[attr-defined]
            else:
                dispatch = dispatch or AiohttpDispatch(state, request, attempt.started_at)
                if not dispatch.answered(attempt, response, now):
                    response.close()
                    state.pools.end_attempt(attempt)
                    attempt = None
                    continue
                response.peerdiscover = dispatch.history(attempt)  # type: ignore[attr-defined]
            if response.connection is None:  # it is read already
                self._end(attempt, now)
            else:
                self._follow(response.connection, attempt, response, request, dispatch)
            return response

    async def _next(self, dispatch: AiohttpDispatch, now: float) -> Attempt:
        """Return the next attempt, after a pause if there has to be one."""
        while isinstance(step := dispatch.next(now), Pause):
            await wait_async(self._discovery, step)
            now = time.monotonic()
        return step

    def _failed(self, dispatch: AiohttpDispatch, attempt: Attempt, error: BaseException, now: float) -> None:
        """Raise what the caller gets for the error of an attempt, if there is to be no other one."""
        if isinstance(attempt.connection, PodConnection):
            attempt.connection.on_failed()
        final = dispatch.failed(attempt, error, now)
        if final is error:
            raise error
        if final is not None:
            raise final from error

    async def _connect(
        self,
        request: ClientRequest,
        tls_name: str,
        attempt: Attempt,
        handler: ClientHandlerType,
        is_kept: bool,
    ) -> ClientResponse:
        """Return the response; aiohttp's own errors if there was no connection in the time for that, or no
        response in that of the attempt.

        The timer costs as much as all the rest here, and is not needed for a kept connection.
        """
        if is_tls := request.is_ssl():
            request.server_hostname = request.server_hostname or tls_name
        seconds: float | None
        if is_kept:
            return await handler(request)
        if self._is_full(request, attempt):
            seconds = attempt.within(None)
        else:
            attempt.on_connect()
            seconds = attempt.connect_within(None, 3 if is_tls else 1)
        timeout, send = asyncio.timeout(seconds), request.send

        def send_in_time(connection: Connection) -> Awaitable[ClientResponse]:
            sending = send(connection)
            left = attempt.within(None)
            timeout.reschedule(None if left is None else asyncio.get_running_loop().time() + left)
            return sending

        request.send = send_in_time  # type: ignore[method-assign,assignment]
        try:
            async with timeout:
                return await handler(request)
        except TimeoutError as error:
            if not timeout.expired():
                raise
            if attempt.sent:
                raise ServerTimeoutError("no response in the time for this attempt") from error
            raise ConnectionTimeoutError(f"no connection in {seconds:.3g} s") from error

    def _is_full(self, request: ClientRequest, attempt: Attempt) -> bool:
        """Whether it may have to wait for a connection: so many requests are in flight already."""
        connector = request.session.connector
        if connector is None:
            return False
        if 0 < connector.limit_per_host < len(attempt.pod.attempts):
            return True
        return 0 < connector.limit < self._state.pools.in_flight

    def _follow(
        self,
        connection: Connection,
        attempt: Attempt,
        response: ClientResponse,
        request: ClientRequest,
        dispatch: AiohttpDispatch | None,
    ) -> None:
        """Have the attempt end when the response has been read, or will not be."""
        ours = attempt.connection
        if isinstance(ours, PodConnection):
            ours.response = response

        def on_end() -> None:
            error = response.content.exception()
            if error is not None and type(error) is not ClientConnectionError:  # which its `close` sets
                known = dispatch or AiohttpDispatch(self._state, request, attempt.started_at)
                error.add_note(str(known.body_failed(attempt, error) or error))
            self._end(attempt, time.monotonic())

        connection.add_callback(on_end)

    def _end(self, attempt: Attempt, now: float) -> None:
        connection = attempt.connection
        if isinstance(connection, PodConnection):  # else another middleware answered
            connection.response, connection.kept_until = None, now + KEPT_FOR
        if self._state.pools.end_attempt(attempt):
            self._forget_pools()

    def _forget_pools(self) -> None:
        for _ in self._state.pools.closable():
            pass  # their connections are the connector's, which drops those that are closed
