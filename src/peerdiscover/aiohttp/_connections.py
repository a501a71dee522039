"""The connector's connections, as a `PodPool` knows them: by their transports, from the first write on.

Invariants:

* A kept connection that the pod has closed is not written to: on Linux TCP_INFO is read right before.
* A connection that a small request was written to and that acknowledged nothing ends after twice the connect
  timeout (on Linux).
* A connection is aborted in its event loop: `drain` is a timer in a thread.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiohttp import ClientConnectionError, ClientPayloadError, ClientResponse

from peerdiscover.http._attempts import Attempt
from peerdiscover.http._tcp import KEEPALIVE, is_closed_by_other_side, set_user_timeout

if TYPE_CHECKING:
    from aiohttp.connector import Connection

_KEPT_FOR = 1.0  # seconds: below the `keepalive_timeout` of any connector


def before_write(attempt: Attempt, connection: Connection) -> None:
    """Note it on the attempt, before the first byte."""
    transport, pod = connection.transport, attempt.pod
    if transport is None:
        raise ClientConnectionError("the connection was closed before anything was written")
    ours = pod.pool.get(transport)
    if ours is None:
        ours = PodConnection(transport)
        pod.pool = {t: one for t, one in pod.pool.items() if not t.is_closing()} | {transport: ours}
        pod.connections = set(pod.pool.values())
        attempt.on_connected()
    else:
        attempt.connecting = False
        if ours.is_closed_by_pod:
            raise ClientConnectionError("the pod closed this connection before anything was written")
    ours.on_write(attempt)


class PodConnection:
    """What a `PodPool` needs of a connection."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._released_at = 0.0
        self._has_user_timeout = False
        self._socket: Any = transport.get_extra_info("socket")
        for option in KEEPALIVE:
            with suppress(OSError):  # closed meanwhile
                self._socket.setsockopt(*option)
        self.response: ClientResponse | None = None
        """The one that is being read."""

    def on_write(self, attempt: Attempt) -> None:
        """An attempt is about to write to it."""
        self._released_at = 0.0
        if attempt.is_small is not self._has_user_timeout:
            self._has_user_timeout = attempt.is_small
            set_user_timeout(self._socket, 2 * attempt.pod.connect_timeout if attempt.is_small else 0)
        attempt.on_write(self)

    def on_released(self) -> None:
        """The response has been read."""
        self.response = None
        self._released_at = time.monotonic()

    def on_failed(self) -> None:
        """No response came. aiohttp closes it, but what the pod does not read would keep it open."""
        if self._transport.is_closing():
            self._transport.abort()

    def is_kept(self, now: float) -> bool:
        """Return whether the connector certainly has it for the next request."""
        return now < self._released_at + _KEPT_FOR and not self._transport.is_closing()

    @property
    def tls_handshaking(self) -> bool:
        return self._transport.is_closing()  # that is all there is to say of one that can carry nothing

    @property
    def is_closed_by_pod(self) -> bool:
        return is_closed_by_other_side(self._socket)

    def abort(self) -> None:
        with suppress(RuntimeError):  # its loop has ended
            self._loop.call_soon_threadsafe(self._abort)

    def _abort(self) -> None:
        if self.response is not None:
            # A body that lasts until the connection ends would look whole.
            self.response.content.set_exception(ClientPayloadError("this connection was cut"))
        self._transport.abort()

    def detach(self) -> None:
        """Do nothing: in the child of a fork there is no event loop to close it with."""
