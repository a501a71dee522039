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

import socket
import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from ._attempts import CURRENT_ATTEMPT, Abortable, Attempt, PodPool
from ._tcp import KEEPALIVE, is_closed_by_other_side, set_user_timeout

if TYPE_CHECKING:
    import httpcore

__all__ = ["AsyncPodBackend", "AsyncPodStream", "PodBackend", "PodStream"]

AnyPodStream = TypeVar("AnyPodStream", "PodStream", "AsyncPodStream")


class _BasePodStream(Abortable):
    """What both kinds of connection share."""

    __slots__ = ("_aborted", "_has_user_timeout", "_pod", "_stream", "get_extra_info", "tls_handshaking")

    def __init__(self, stream: Any, pod: PodPool) -> None:
        self._stream = stream
        self._pod = pod
        self._has_user_timeout = False
        self._aborted = False
        self.tls_handshaking: bool = False
        self.get_extra_info: Callable[[str], Any] = stream.get_extra_info

    def abort(self) -> None:
        self._aborted = True
        sock = self._stream.get_extra_info("socket")
        with suppress(OSError):
            if isinstance(sock, socket.socket):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # past TLS, which would take part in it
            else:
                sock.shutdown(socket.SHUT_RDWR)

    def before_tls(self) -> None:
        self._pod.before_tls()

    @property
    def is_closed_by_pod(self) -> bool:
        return is_closed_by_other_side(self._stream.get_extra_info("socket"))

    def _set_user_timeout(self, enabled: bool) -> None:
        """Set whether what is written has to be acknowledged within twice the connect timeout."""
        self._has_user_timeout = enabled
        seconds = 2 * self._pod.connect_timeout if enabled else 0
        set_user_timeout(self._stream.get_extra_info("socket"), seconds)

    def _before_write(self, timeout: float | None) -> float | None:
        """Note it on the attempt, before the first byte; return what is left of `timeout`."""
        pod, attempt = self._pod, self._attempt()
        if attempt is None:
            pod.writes += 1
            return timeout
        is_first = not (attempt.written or attempt.is_new_connection or pod.multiplexed)
        if is_first and self.is_closed_by_pod:
            raise pod.core.WriteError("the pod closed this connection before anything was written")
        attempt.on_write(self)
        pod.writes += 1
        if attempt.is_small is not self._has_user_timeout:
            self._set_user_timeout(attempt.is_small)
        return attempt.within(timeout)

    def _before_read(self, timeout: float | None) -> float | None:
        """Return what is left of `timeout`; httpcore's `ReadTimeout` if there is nothing left."""
        attempt = self._attempt()
        if attempt is None:
            return timeout
        if attempt.expired:
            raise self._pod.core.ReadTimeout("the time for this attempt has expired")
        return attempt.within(timeout)

    def _after_read(self, data: bytes) -> bytes:
        """Note on the attempt that something was read."""
        if not data and self._aborted:
            raise self._pod.core.RemoteProtocolError("this connection was cut")
        if (attempt := self._attempt()) is not None:
            attempt.received = True
        return data

    def _attempt(self) -> Attempt | None:
        """Return the current attempt if it is on this pod: its body may be read from another's connection."""
        attempt = CURRENT_ATTEMPT.get()
        return attempt if attempt is not None and attempt.pod is self._pod else None


def _before_connect(timeout: float | None) -> float | None:
    """Note on the current attempt that it connects; return what is left of `timeout`."""
    attempt = CURRENT_ATTEMPT.get()
    if attempt is None:
        return timeout
    attempt.on_connect()
    return attempt.connect_within(timeout)


def _before_tls(stream: _BasePodStream, timeout: float | None) -> float | None:
    """Note that a TLS handshake begins, which is a part of connecting; return what is left of `timeout`."""
    stream.tls_handshaking = True
    stream.before_tls()
    attempt = CURRENT_ATTEMPT.get()
    if attempt is None:
        return timeout
    attempt.connecting = True
    return attempt.connect_within(timeout, 2)


def _after_connect(stream: AnyPodStream, pod: PodPool) -> AnyPodStream:
    """Note on the current attempt that it has a new connection."""
    pod.connections.add(stream)
    attempt = CURRENT_ATTEMPT.get()
    if attempt is not None:
        attempt.on_connected()
    return stream


class PodStream(_BasePodStream):
    """A connection to a pod, for threads: httpcore's `NetworkStream`."""

    __slots__ = ()

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._after_read(self._stream.read(max_bytes, self._before_read(timeout)))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if not buffer and not self._pod.multiplexed:
            return  # the end of a request without a body
        timeout = self._before_write(timeout)
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._pod.connections.discard(self)
        self._stream.close()

    def detach(self) -> None:
        """Give up the descriptor in the child of a fork, without a word to the pod: it is the parent's."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> PodStream:
        timeout = _before_tls(self, timeout)
        try:
            stream = self._stream.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:
            self.close()
            raise
        self._pod.connections.discard(self)
        return _after_connect(PodStream(stream, self._pod), self._pod)


class PodBackend:
    """Connects to a pod, whatever host is asked for: httpcore's `NetworkBackend`."""

    def __init__(self, core: Any, pod: PodPool) -> None:
        self._backend: httpcore.NetworkBackend = core.SyncBackend()
        self._pod = pod

    def connect_tcp(
        self,
        host: str,  # noqa: ARG002 - httpcore's interface; the connection goes to the pod's address
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> PodStream:
        timeout = _before_connect(timeout)
        address, port = self._pod.peer.sockaddr
        stream = self._backend.connect_tcp(
            address, port, timeout, local_address, [*KEEPALIVE, *(socket_options or ())]
        )
        return _after_connect(PodStream(stream, self._pod), self._pod)


class AsyncPodStream(_BasePodStream):
    """A connection to a pod, for asyncio and trio: httpcore's `AsyncNetworkStream`."""

    __slots__ = ()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        timeout = self._before_read(timeout)
        try:
            data: bytes = await self._stream.read(max_bytes, timeout)
        except ssl.SSLError as error:  # an alert; httpcore translates it for threads only
            raise self._pod.core.ReadError(str(error)) from error
        return self._after_read(data)

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
        timeout = _before_tls(self, timeout)
        try:
            stream = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:
            self._pod.connections.discard(self)
            with suppress(Exception):
                await self._stream.aclose()
            raise
        self._pod.connections.discard(self)
        return _after_connect(AsyncPodStream(stream, self._pod), self._pod)


class AsyncPodBackend:
    """Connects to a pod, whatever host is asked for: httpcore's `AsyncNetworkBackend`."""

    def __init__(self, core: Any, pod: PodPool) -> None:
        self._backend: httpcore.AsyncNetworkBackend = core.AnyIOBackend()  # under trio, too
        self._pod = pod

    async def connect_tcp(
        self,
        host: str,  # noqa: ARG002 - httpcore's interface; the connection goes to the pod's address
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> AsyncPodStream:
        timeout = _before_connect(timeout)
        address, port = self._pod.peer.sockaddr
        stream = await self._backend.connect_tcp(
            address, port, timeout, local_address, [*KEEPALIVE, *(socket_options or ())]
        )
        return _after_connect(AsyncPodStream(stream, self._pod), self._pod)
