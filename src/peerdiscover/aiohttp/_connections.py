"""The connector's connections, as a `PodPool` knows them: by their transports, from the first write on.

Invariants:

* A kept connection that the pod has closed is not written to: on Linux the kernel is asked right before. Its
  descriptor is open then, since the connector gives no connection whose transport is closing.
* A connection that a small request was written to and that acknowledged nothing ends after twice the connect
  timeout (on Linux).
* A connection is aborted in its event loop: `drain` is a timer in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from aiohttp import ClientConnectionError, ClientPayloadError, ClientResponse
from yarl import URL

from peerdiscover.http._attempts import Attempt
from peerdiscover.http._tcp import KEEPALIVE, closed_poll, set_user_timeout
from peerdiscover.peers import Peer

if TYPE_CHECKING:
    from aiohttp.connector import Connection

KEPT_FOR = 1.0  # seconds: below the `keepalive_timeout` of any connector
_MAX_URLS = 16  # of one pod that are remembered


class PodConnections:
    """The connections to a pod by their transports, and the URLs of requests with its address."""

    def __init__(self, peer: Peer) -> None:
        self.by_transport: dict[asyncio.Transport, PodConnection] = {}
        self.at: Callable[[URL], URL] = lru_cache(_MAX_URLS)(partial(_at, peer.hostport))

    def has_kept(self, now: float) -> bool:
        """Return whether the connector certainly has one for the next request."""
        for connection in self.by_transport.values():
            if now < connection.kept_until and not connection.transport.is_closing():
                return True
        return False

    def add(self, transport: asyncio.Transport) -> PodConnection:
        """Return a new one; those that were closed since the last one are forgotten."""
        connection = PodConnection(transport)
        open_ones = {t: one for t, one in self.by_transport.items() if not t.is_closing()}
        self.by_transport = {**open_ones, transport: connection}
        return connection


def send_on(
    attempt: Attempt, send: Callable[[Connection], Awaitable[ClientResponse]], connection: Connection
) -> Awaitable[ClientResponse]:
    """Note it on the attempt, and send the request."""
    transport, pod = connection.transport, attempt.pod
    ours = pod.pool.by_transport.get(transport)
    if ours is not None:
        attempt.connecting = False
        if ours.poll(0):
            raise ClientConnectionError("the pod closed this connection before anything was written")
    elif transport is None:
        raise ClientConnectionError("the connection was closed before anything was written")
    else:
        ours = pod.pool.add(transport)
        pod.connections = set(pod.pool.by_transport.values())
        attempt.on_connected()
    if attempt.is_small is not ours.has_user_timeout:
        ours.has_user_timeout = attempt.is_small
        set_user_timeout(ours.socket, 2 * pod.connect_timeout if attempt.is_small else 0)
    ours.kept_until = 0.0
    attempt.connection = ours
    attempt.written = True
    return send(connection)


class PodConnection:
    """What a `PodPool` needs of a connection."""

    has_user_timeout = False
    kept_until = 0.0
    """The connector has it until then; 0 while an attempt has it."""
    response: ClientResponse | None = None
    """The one that is being read."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.socket: Any = transport.get_extra_info("socket")
        self.poll = closed_poll(self.socket)
        self._loop = asyncio.get_running_loop()
        for option in KEEPALIVE:
            with suppress(OSError):  # closed meanwhile
                self.socket.setsockopt(*option)

    def on_failed(self) -> None:
        """No response came. aiohttp closes it, but what the pod does not read would keep it open."""
        if self.transport.is_closing():
            self.transport.abort()

    @property
    def tls_handshaking(self) -> bool:
        return self.transport.is_closing()  # that is all there is to say of one that can carry nothing

    @property
    def is_closed_by_pod(self) -> bool:
        return self.transport.is_closing() or bool(self.poll(0))

    def abort(self) -> None:
        with suppress(RuntimeError):  # its loop has ended
            self._loop.call_soon_threadsafe(self._abort)

    def _abort(self) -> None:
        if self.response is not None:
            # A body that lasts until the connection ends would look whole.
            self.response.content.set_exception(ClientPayloadError("this connection was cut"))
        self.transport.abort()

    def detach(self) -> None:
        """Do nothing: in the child of a fork there is no event loop to close it with."""


def _at(hostport: str, url: URL) -> URL:
    """Return the URL with the address of a pod."""
    return URL.build(
        scheme=url.scheme,
        authority=hostport,
        path=url.raw_path,
        query_string=url.raw_query_string,
        encoded=True,
    )
