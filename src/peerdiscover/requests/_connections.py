"""Connections of urllib3 to a pod by its address, which note whether a byte of a request was written.

Invariants, as of `peerdiscover.http._connections`:

* Each connection notes on the current attempt that it is about to write, before the first byte.
* A kept connection that the pod has closed is not written to: urllib3 looks when it takes one, and on Linux
  TCP_INFO is read right before the first byte.
* Connecting ends after the connect timeout, a TLS handshake after twice that, and so does a connection that a
  small request was written to and that acknowledged nothing (on Linux).
* An attempt ends when its response has been read, or its connection is closed: urllib3 then gives the
  connection back to its pool, or closes it. (http.client closes it sooner if the response ends with the
  connection; that is before the attempt is `reading`.)
* Until the head of a response each write and read has what is left of the attempt, and none begins after its
  deadline: a pod that sends without pause never lets a read time out.
"""

from __future__ import annotations

import io
import math
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPResponse as _Response
from time import monotonic
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ProtocolError
from urllib3.util.connection import create_connection

from peerdiscover.http._attempts import Attempt, PodPool, current_attempt
from peerdiscover.http._tcp import KEEPALIVE, is_closed_by_other_side, set_user_timeout

_KEPT_FOR = 4.0  # seconds: below the 5 s after which uvicorn and others close, to be first


class _Head(io.RawIOBase):
    """What http.client's buffer reads from: while the head of a response comes, until the deadline."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, attempt: Attempt) -> None:
        self._raw = raw
        self._sock = sock
        self._attempt = attempt
        self._timeout = sock.gettimeout()

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def readinto(self, buffer: Any) -> Any:
        attempt = self._attempt
        if not attempt.received:
            if attempt.pod.clock() >= attempt.deadline:
                raise TimeoutError("the time for this attempt has expired")
            self._sock.settimeout(attempt.within(self._timeout))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedResponse(_Response):
    """What http.client reads a response with, in an attempt that has a deadline."""

    def __init__(self, sock: socket.socket, **options: Any) -> None:
        super().__init__(sock, **options)
        self.fp = io.BufferedReader(_Head(self.fp.detach(), sock, current_attempt()))


class PodConnection(HTTPConnection):
    """A connection to a pod. `host` and `port` are those of the URL."""

    pod: PodPool
    on_end: Callable[[Attempt], None]
    """Called when the response of an attempt has been read, or will not be."""
    reading: Attempt | None = None
    """The attempt whose response is being read."""
    released_at: float = 0.0
    tls_handshaking: bool = False  # it is the pod's connection only after that
    _connected: socket.socket | None = None  # `sock`, which http.client forgets when it closes
    _has_user_timeout = False

    def connect(self) -> None:
        attempt, timeout = current_attempt(), self.timeout
        super().connect()
        self._connected, self._has_user_timeout = self.sock, False
        self.sock.settimeout(attempt.within(timeout))
        self.pod.connections.add(self)
        attempt.on_connected()

    def _new_conn(self) -> socket.socket:
        attempt = current_attempt()
        attempt.on_connect()
        timeout = attempt.connect_within(self.timeout)
        options = [*(self.socket_options or ()), *KEEPALIVE]
        try:
            sock = create_connection(self.pod.peer.sockaddr, timeout, self.source_address, options)
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"{self.pod.peer!r}: no connection in {timeout:.3g} s") from error
        except OSError as error:
            raise NewConnectionError(self, str(error)) from error
        sys.audit("http.client.connect", self, self.host, self.port)
        sock.settimeout(attempt.connect_within(self.timeout, 2))  # for a TLS handshake
        return sock

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()  # http.client would, but only after what follows
        assert self.sock is not None
        attempt = current_attempt()
        if not (attempt.written or attempt.is_new_connection) and self.is_closed_by_pod:
            raise ProtocolError("the pod closed this connection before anything was written")
        attempt.connection = self
        attempt.written = True
        if attempt.deadline < math.inf:
            self.sock.settimeout(attempt.within(self.timeout))
        if attempt.is_small is not self._has_user_timeout:
            self._has_user_timeout = attempt.is_small
            set_user_timeout(self.sock, 2 * self.pod.connect_timeout if attempt.is_small else 0)
        super().send(data)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # urllib3's differs from http.client's
        attempt, sock, timeout = current_attempt(), self.sock, self.timeout
        self.timeout = attempt.within(timeout)
        self.response_class = _TimedResponse if attempt.deadline < math.inf else _Response
        response = super().getresponse()
        if attempt.deadline < math.inf:
            with suppress(OSError):  # closed, if there is nothing more to read
                sock.settimeout(timeout)
        attempt.received = True
        self.reading = attempt
        self.pod.connections.add(self)  # http.client may have closed it, and reads on
        return response

    def close(self) -> None:
        super().close()
        self.end()

    def end(self) -> None:
        """The response has been read, or will not be."""
        if self.sock is None:
            self.pod.connections.discard(self)
        attempt, self.reading = self.reading, None
        self.released_at = monotonic()
        if attempt is not None:
            self.on_end(attempt)

    # What a `PodPool` needs

    @property
    def is_closed_by_pod(self) -> bool:
        return is_closed_by_other_side(self._connected)

    def abort(self) -> None:
        if self._connected is not None:
            with suppress(OSError):
                socket.socket.shutdown(self._connected, socket.SHUT_RDWR)  # past TLS, which would take part

    def detach(self) -> None:
        if self._connected is not None and (number := self._connected.detach()) >= 0:
            os.close(number)


class PodTlsConnection(PodConnection, HTTPSConnection):
    """The same with TLS; the name in the certificate is that of the URL."""


class PodConnectionPool(HTTPConnectionPool):
    """The connections to a pod for one host of URLs."""

    ConnectionCls: Any = PodConnection
    pod: PodPool
    on_end: Callable[[Attempt], None]

    def _new_conn(self) -> Any:
        connection = super()._new_conn()
        assert isinstance(connection, PodConnection)
        connection.pod, connection.on_end = self.pod, self.on_end
        return connection

    def _get_conn(self, timeout: float | None = None) -> Any:
        connection: Any = super()._get_conn(timeout)
        if not connection.is_closed and monotonic() > connection.released_at + _KEPT_FOR:
            connection.close()  # it connects again when it is used
        return connection

    def _put_conn(self, conn: Any) -> None:
        if conn is not None:
            conn.end()
        super()._put_conn(conn)


class PodTlsConnectionPool(PodConnectionPool, HTTPSConnectionPool):
    """The same with TLS."""

    ConnectionCls: Any = PodTlsConnection


class PodManager(PoolManager):
    """All connections to one pod: a pool for each spelling of its host, and each set of certificates."""

    def __init__(self, pod: PodPool, on_end: Callable[[Attempt], None], maxsize: int) -> None:
        super().__init__(maxsize=maxsize)
        self.pool_classes_by_scheme = {"http": PodConnectionPool, "https": PodTlsConnectionPool}
        self._pod = pod
        self._on_end = on_end

    def _new_pool(
        self, scheme: str, host: str, port: int, request_context: dict[str, Any] | None = None
    ) -> HTTPConnectionPool:
        pool = super()._new_pool(scheme, host, port, request_context)
        assert isinstance(pool, PodConnectionPool)
        pool.pod, pool.on_end = self._pod, self._on_end
        return pool
