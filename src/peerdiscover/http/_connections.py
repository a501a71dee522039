"""Connections to a pod by its address, which note whether a byte of a request was handed to a socket.

Invariants:

* Each connection notes on the current attempt that it is about to write, before the first byte.
* A pool connects a second time in one attempt only if a connection refused the request unprocessed (closed
  meanwhile, or GOAWAY of HTTP/2): then nothing was handed over yet.
* A kept connection that the pod has closed is not written to: on Linux TCP_INFO is read right before the
  first byte. (The pool checks that too, but earlier.) With HTTP/2 it is read before the attempt, in
  `_pools`: an error of a write would end the responses that are still read from the connection.
* A pod whose kernel does not respond is gone, however slow a pod may be to respond. Connecting to it ends
  after the connect timeout, and after twice that a TLS handshake, and a connection that a small request was
  written to and that acknowledged nothing (on Linux, by TCP_USER_TIMEOUT). A large request would make a pod
  that reads slowly look like one that is gone.
* `abort` ends a connection without closing its descriptor, which another thread may be waiting on. What
  is read from it then ends with an error: a body that lasts until the connection ends (without a length,
  not chunked) would look whole.
* The deadline of an attempt is checked before each read, since a pod that sends without pause never lets a
  read time out.
"""

from __future__ import annotations

import math
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ._attempts import CURRENT_ATTEMPT, PodPool, current_attempt
from ._tcp import KEEPALIVE, is_closed_by_other_side, set_user_timeout

if TYPE_CHECKING:
    import httpcore


class _BasePodStream:
    """A new connection, which the current attempt made; what both kinds share."""

    tls_handshaking = False

    def __init__(self, stream: Any, pod: PodPool) -> None:
        self._stream = stream
        self._pod = pod
        self._socket = stream.get_extra_info("socket")
        self._has_user_timeout = False
        self._aborted = False
        self.get_extra_info: Callable[[str], Any] = stream.get_extra_info
        pod.connections.add(self)
        current_attempt().on_connected()

    def abort(self) -> None:
        self._aborted = True
        with suppress(OSError):
            if isinstance(self._socket, socket.socket):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # past TLS, which would take part
            else:
                self._socket.shutdown(socket.SHUT_RDWR)

    @property
    def is_closed_by_pod(self) -> bool:
        return is_closed_by_other_side(self._socket)

    def detach(self) -> None:
        raise NotImplementedError

    # An attempt on another pod may read or write here, too: its body is a response of this one.

    def _before_write(self, timeout: float | None) -> float | None:
        """Note it on the attempt, before the first byte; return what is left of `timeout`."""
        pod, attempt = self._pod, CURRENT_ATTEMPT.get()
        if attempt is None or attempt.pod is not pod:
            pod.writes += 1
            return timeout
        is_first = not (attempt.written or attempt.is_new_connection or pod.multiplexed)
        if is_first and is_closed_by_other_side(self._socket):
            raise pod.core.WriteError("the pod closed this connection before anything was written")
        attempt.connection = self
        attempt.written = True
        pod.writes += 1
        if attempt.is_small is not self._has_user_timeout:
            self._has_user_timeout = attempt.is_small
            set_user_timeout(self._socket, 2 * pod.connect_timeout if attempt.is_small else 0)
        return attempt.within(timeout)

    def _before_read(self, timeout: float | None) -> float | None:
        """Return what is left of `timeout`; httpcore's `ReadTimeout` if there is nothing left."""
        pod, attempt = self._pod, CURRENT_ATTEMPT.get()
        if attempt is None or attempt.pod is not pod:
            return timeout
        attempt.received = True
        if attempt.deadline == math.inf:
            return timeout
        if pod.clock() >= attempt.deadline:
            raise pod.core.ReadTimeout("the time for this attempt has expired")
        return attempt.within(timeout)

    def _ended(self) -> bytes:
        """Return what is read at the end of the connection: nothing, or an error if the end was ours."""
        if self._aborted:
            raise self._pod.core.RemoteProtocolError("this connection was cut")
        return b""

    def _before_tls(self, timeout: float | None) -> float:
        """Note that a TLS handshake begins, a part of connecting; return what is left of `timeout`."""
        self.tls_handshaking = True
        self._pod.before_tls()
        attempt = current_attempt()
        attempt.on_connect()
        return attempt.connect_within(timeout, 2)


def _to_pod(pod: PodPool, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a backend's `connect_tcp`, for this pod and the time that the attempt has."""
    address, port = pod.peer.sockaddr
    attempt = current_attempt()
    attempt.on_connect()
    timeout = attempt.connect_within(options["timeout"])
    return {**options, "host": address, "port": port, "timeout": timeout, "socket_options": KEEPALIVE}


class PodStream(_BasePodStream):
    """A connection to a pod, for threads: httpcore's `NetworkStream`."""

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._before_read(timeout)) or self._ended()

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if buffer or self._pod.multiplexed:  # else the end of a request without a body
            self._stream.write(buffer, self._before_write(timeout))

    def close(self) -> None:
        self._pod.connections.discard(self)
        self._stream.close()

    def detach(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> PodStream:
        timeout = self._before_tls(timeout)
        try:
            stream = self._stream.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:
            self.close()
            raise
        self._pod.connections.discard(self)
        return PodStream(stream, self._pod)


class PodBackend:
    """Connects to a pod, whatever host is asked for: httpcore's `NetworkBackend`."""

    def __init__(self, core: Any, pod: PodPool) -> None:
        self._backend: httpcore.NetworkBackend = core.SyncBackend()
        self._pod = pod

    def connect_tcp(self, **options: Any) -> PodStream:
        stream = self._backend.connect_tcp(**_to_pod(self._pod, options))
        return PodStream(stream, self._pod)


class AsyncPodStream(_BasePodStream):
    """A connection to a pod, for asyncio and trio: httpcore's `AsyncNetworkStream`."""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        timeout = self._before_read(timeout)
        try:
            return await self._stream.read(max_bytes, timeout) or self._ended()
        except ssl.SSLError as error:  # an alert; httpcore translates it for threads only
            raise self._pod.core.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if not buffer and not self._pod.multiplexed:
            return  # the end of a request without a body
        timeout = self._before_write(timeout)
        try:
            await self._stream.write(buffer, timeout)
        except ssl.SSLError as error:
            raise self._pod.core.WriteError(str(error)) from error

    async def aclose(self) -> None:
        self._pod.connections.discard(self)
        await self._stream.aclose()

    def detach(self) -> None:
        """Do nothing: in the child of a fork there is no event loop to close it with."""

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> AsyncPodStream:
        timeout = self._before_tls(timeout)
        try:
            stream = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:
            with suppress(Exception):
                await self.aclose()
            raise
        self._pod.connections.discard(self)
        return AsyncPodStream(stream, self._pod)


class AsyncPodBackend:
    """Connects to a pod, whatever host is asked for: httpcore's `AsyncNetworkBackend`."""

    def __init__(self, core: Any, pod: PodPool) -> None:
        self._backend: httpcore.AsyncNetworkBackend = core.AnyIOBackend()  # under trio, too
        self._pod = pod

    async def connect_tcp(self, **options: Any) -> AsyncPodStream:
        stream = await self._backend.connect_tcp(**_to_pod(self._pod, options))
        return AsyncPodStream(stream, self._pod)
