"""Lines to a pod: dialled by its address, and watched for whether a byte of a request was handed over.

Rules of this room:

* Each line says to the attempt under way that it is about to write, before the first byte.
* A pool dials a second time in one attempt only when its line refused the request unprocessed (closed
  meanwhile, or GOAWAY of HTTP/2): then nothing was handed over yet.
* A kept line that the pod has closed takes nothing. Of one of HTTP/1.1 the pool asks that itself, a moment
  before; of one of HTTP/2 nobody else does (Linux: TCP_INFO tells).
* A pod whose kernel answers nothing is gone, however slow a pod may answer: dialling it ends after
  its patience, and after twice that a TLS handshake, and a line that a small request was written to
  and that acknowledged nothing (Linux: TCP_USER_TIMEOUT). For a large one that would take a pod that reads
  slowly for one that is gone.
* `cut` ends a line without closing its descriptor, which another thread may be waiting on.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from ._attempts import CURRENT_ATTEMPT, Abortable, Attempt, PodPool

if TYPE_CHECKING:
    import ssl

__all__ = ["AsyncPodBackend", "AsyncPodStream", "PodBackend", "PodStream"]

L = TypeVar("L", "PodStream", "AsyncPodStream")

_TCP_INFO: int | None = getattr(socket, "TCP_INFO", None)
_ESTABLISHED = 1  # linux/tcp_states.h; when the other side has closed: CLOSE_WAIT
_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)
# A pod that goes while it is thought to be at work is found out by these: after some three seconds.
_ALIVE = [
    (level, option, value)
    for level, name, value in (
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
    )
    if (option := getattr(socket, name, None)) is not None
]


class _BasePodStream(Abortable):
    """What both kinds of line share."""

    __slots__ = ("_hurried", "_pod", "_stream", "get_extra_info", "tls_handshaking")

    def __init__(self, stream: Any, pod: PodPool) -> None:
        self._stream = stream
        self._pod = pod
        self._hurried = False
        self.tls_handshaking: bool = False
        self.get_extra_info: Callable[[str], Any] = stream.get_extra_info

    def abort(self) -> None:
        sock = self._stream.get_extra_info("socket")
        with suppress(OSError):
            if isinstance(sock, socket.socket):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)  # past TLS, which would take part in it
            else:
                sock.shutdown(socket.SHUT_RDWR)

    def _ended(self) -> bool:
        """Whether the pod has closed it already."""
        if _TCP_INFO is None:
            return False
        try:
            state: int = self._stream.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1)[0]
        except OSError:
            return True
        return state != _ESTABLISHED

    def _hurry(self, hurried: bool) -> None:
        """Whether what is written has to be acknowledged within the pod's patience."""
        self._hurried = hurried
        if _USER_TIMEOUT is None:
            return
        milliseconds = math.ceil(2000 * self._pod.connect_timeout) if hurried else 0
        with suppress(OSError):  # closed meanwhile: writing says so in httpcore's words
            self._stream.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, _USER_TIMEOUT, milliseconds)

    def _about_to_write(self, timeout: float | None) -> float | None:
        """Say so, before the first byte; what is left of `timeout` comes back."""
        pod, attempt = self._pod, self._attempt()
        if attempt is None:
            pod.written += 1
            return timeout
        if pod.multiplexed and not attempt.written and not attempt.dialled and self._ended():
            raise pod.write_error("the pod closed this line before anything was written")
        attempt.write(self)
        pod.written += 1
        if attempt.small is not self._hurried:
            self._hurry(attempt.small)
        return attempt.within(timeout)

    def _attempt(self) -> Attempt | None:
        """The attempt under way, where it is one on this pod: its body may be read from another's line."""
        attempt = CURRENT_ATTEMPT.get()
        return attempt if attempt is not None and attempt.pod is self._pod else None


def _connecting(timeout: float | None) -> float | None:
    """The attempt under way begins to dial; what is left of `timeout` comes back."""
    attempt = CURRENT_ATTEMPT.get()
    if attempt is None:
        return timeout
    attempt.connect()
    return attempt.connect_deadline(timeout)


def _tls_handshaking(line: _BasePodStream, timeout: float | None) -> float | None:
    """It begins with TLS, which is a part of dialling."""
    line.tls_handshaking = True
    attempt = CURRENT_ATTEMPT.get()
    if attempt is None:
        return timeout
    attempt.connecting = True
    return attempt.connect_deadline(timeout, 2)


def _connected(line: L, pod: PodPool) -> L:
    """It has a new line."""
    pod.connections.add(line)
    attempt = CURRENT_ATTEMPT.get()
    if attempt is not None:
        attempt.connected()
    return line


class PodStream(_BasePodStream):
    """A connection to a pod, for threads: httpcore's `NetworkStream`."""

    __slots__ = ()

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if (attempt := self._attempt()) is not None:
            timeout = attempt.within(timeout)
        data: bytes = self._stream.read(max_bytes, timeout)
        if attempt is not None:
            attempt.heard = True
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if not buffer and not self._pod.multiplexed:
            return  # the end of a request without a body
        timeout = self._about_to_write(timeout)
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._pod.connections.discard(self)
        self._stream.close()

    def detach(self) -> None:
        """In the child of a fork, where it is the parent's: give up the descriptor, and tell nobody."""
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> PodStream:
        timeout = _tls_handshaking(self, timeout)
        try:
            stream = self._stream.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:
            self.close()
            raise
        self._pod.connections.discard(self)
        return _connected(PodStream(stream, self._pod), self._pod)


class PodBackend:
    """Dials a pod, whatever host is asked for: httpcore's `NetworkBackend`."""

    def __init__(self, core: Any, pod: PodPool) -> None:
        self._backend = core.SyncBackend()
        self._pod = pod

    def connect_tcp(
        self,
        host: str,  # noqa: ARG002 - httpcore's interface; the pod's address is dialled whatever it is
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> PodStream:
        timeout = _connecting(timeout)
        address, port = self._pod.peer.sockaddr
        stream = self._backend.connect_tcp(
            address, port, timeout, local_address, [*_ALIVE, *(socket_options or ())]
        )
        return _connected(PodStream(stream, self._pod), self._pod)


class AsyncPodStream(_BasePodStream):
    """A connection to a pod, for asyncio and trio: httpcore's `AsyncNetworkStream`."""

    __slots__ = ()

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if (attempt := self._attempt()) is not None:
            timeout = attempt.within(timeout)
        data: bytes = await self._stream.read(max_bytes, timeout)
        if attempt is not None:
            attempt.heard = True
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if not buffer and not self._pod.multiplexed:
            return  # the end of a request without a body
        timeout = self._about_to_write(timeout)
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        self._pod.connections.discard(self)
        await self._stream.aclose()

    def detach(self) -> None:
        """In the child of a fork there is no event loop to close it with."""

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> AsyncPodStream:
        timeout = _tls_handshaking(self, timeout)
        try:
            stream = await self._stream.start_tls(ssl_context, server_hostname, timeout)
        except BaseException:
            self._pod.connections.discard(self)
            with suppress(Exception):
                await self._stream.aclose()
            raise
        self._pod.connections.discard(self)
        return _connected(AsyncPodStream(stream, self._pod), self._pod)


class AsyncPodBackend:
    """Dials a pod, whatever host is asked for: httpcore's `AsyncNetworkBackend`."""

    def __init__(self, core: Any, pod: PodPool) -> None:
        self._backend = core.AnyIOBackend()  # under trio, too
        self._pod = pod

    async def connect_tcp(
        self,
        host: str,  # noqa: ARG002 - httpcore's interface; the pod's address is dialled whatever it is
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> AsyncPodStream:
        timeout = _connecting(timeout)
        address, port = self._pod.peer.sockaddr
        stream = await self._backend.connect_tcp(
            address, port, timeout, local_address, [*_ALIVE, *(socket_options or ())]
        )
        return _connected(AsyncPodStream(stream, self._pod), self._pod)
