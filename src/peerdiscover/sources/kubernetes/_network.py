"""Connections of a thread whose waiting another thread can end: what httpcore calls a network backend.

Invariants:

* Whatever a thread waits for ends at the deadline, and at once when `wake` is called. The clock and the
  waker are looked at before each step, too: a server that sends without pause gets no more time.
* Waking shuts the socket down. That ends a `connect` as well (on Linux; elsewhere its deadline does), and
  nothing but the connection itself is needed for it: no pipe, and no selector while reading.
* In the child of a fork the connection is closed without a word: it is the parent's (`_forks`).
* Keepalive finds a server that went away without a word, in about a minute.
"""

from __future__ import annotations

import os
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import anyio
import httpcore

from peerdiscover import _forks

_Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)


_PROBES = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
KEEPALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *((socket.IPPROTO_TCP, getattr(socket, n), value) for n, value in _PROBES.items() if hasattr(socket, n)),
)
"""After 30 s of silence a probe every 10 s, three of them, if the platform lets one set that."""


class CancelledError(Exception):
    """The caller cancelled."""


class InterruptibleBackend(httpcore.NetworkBackend):
    """Makes connections, one at a time. `deadline` returns until when the thread may wait, now."""

    def __init__(self, deadline: Callable[[], float]) -> None:
        self._deadline = deadline
        self._cancelled = threading.Event()
        self._socket: socket.socket | None = None
        # Without it a descriptor could be shut down that was closed, and given out again, a moment before.
        self._lock = threading.RLock()

    def wake(self) -> None:
        """From another thread: what waits, or will, gets `CancelledError`."""
        self._cancelled.set()
        with self._lock, suppress(OSError):  # it is not connected, or no longer
            if self._socket is not None:
                # Past TLS, which would take part in it while another thread reads.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def sleep(self, seconds: float) -> None:
        if self._cancelled.wait(seconds):
            raise CancelledError

    def check(self) -> None:
        """`CancelledError` once the caller cancelled."""
        if self._cancelled.is_set():
            raise CancelledError

    def remaining(self) -> float:
        """Seconds until the deadline; `TimeoutError` after it, `CancelledError` once the caller cancelled."""
        self.check()
        left = self._deadline() - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 -- httpcore's signature; the deadline counts
        local_address: str | None = None,  # noqa: ARG002 -- as above
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """A connection to the first address of `host` that accepts one. Each has its share of the time."""
        trouble = OSError(f"{host} has no address")
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for shares, (family, kind, protocol, _, address) in zip(range(len(found), 0, -1), found, strict=True):
            try:
                seconds = self.remaining() / shares  # it may raise, so before there is a socket to close
                stream = _Stream(self, socket.socket(family, kind, protocol))
                return stream.connect(address, socket_options or (), seconds)
            except OSError as error:  # a black hole, a family that this machine does not have, …
                trouble = error
        raise trouble

    def opened(self, sock: socket.socket) -> None:
        """From now on `wake` shuts this one down."""
        _forks.owns(sock)
        self._socket = sock

    def close(self, sock: socket.socket) -> None:
        with self._lock:
            sock.close()


class _Stream(httpcore.NetworkStream):
    def __init__(self, backend: InterruptibleBackend, sock: socket.socket) -> None:
        self._backend = backend
        self._sock = sock
        backend.opened(sock)

    def connect(self, address: Any, options: Iterable[Any], seconds: float) -> httpcore.NetworkStream:
        try:
            for option in (*options, (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)):
                self._sock.setsockopt(*option)
            self._sock.setblocking(False)
            with suppress(BlockingIOError):
                self._sock.connect(address)
            self._backend.check()  # except on Linux, a shutdown before it connects does not end the waiting
            self._finish_connecting(seconds)
        except BaseException:
            self.close()
            raise
        return self

    def _finish_connecting(self, seconds: float) -> None:
        ready = self._is_ready(selectors.EVENT_WRITE, seconds)
        self._backend.check()
        if not ready:
            raise TimeoutError
        if number := self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(number, os.strerror(number))  # which Python makes the fitting subclass

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 -- as above
        data: bytes = self._interruptible(lambda: self._sock.recv(max_bytes))
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 -- as above
        self._interruptible(lambda: self._sock.sendall(buffer))

    def close(self) -> None:
        self._backend.close(self._sock)

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002 -- as above
    ) -> httpcore.NetworkStream:
        try:
            sock = ssl_context.wrap_socket(
                self._sock, server_hostname=server_hostname, do_handshake_on_connect=False
            )
        except BaseException:
            self.close()
            raise
        stream = _Stream(self._backend, sock)
        try:
            stream._interruptible(sock.do_handshake)
        except BaseException:
            stream.close()
            raise
        return stream

    def get_extra_info(self, info: str) -> Any:
        if info == "ssl_object":
            return self._sock if isinstance(self._sock, ssl.SSLSocket) else None
        if info == "is_readable":  # httpcore asks whether an idle connection was ended by the server
            return self._is_ready(selectors.EVENT_READ, 0)
        return None

    def _interruptible(self, act: Callable[[], Any]) -> Any:
        """Do it, within what is left of the time."""
        self._sock.settimeout(self._backend.remaining())
        try:
            return act()
        finally:
            self._backend.check()  # a socket that was shut down looks like one that the server closed

    def _is_ready(self, event: int, seconds: float) -> bool:
        with _Selector() as selector:
            selector.register(self._sock, event)
            return bool(selector.select(seconds))


class AsyncBackend(httpcore.AsyncNetworkBackend):
    """httpcore's own, for asyncio and trio, except that a cancelled handshake leaves nothing open."""

    def __init__(self) -> None:
        self._backend: Any = httpcore.AnyIOBackend()  # a union to pyright, which sees the fallback too

    async def connect_tcp(self, *arguments: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        return _AsyncStream(await self._backend.connect_tcp(*arguments, **options))


class _AsyncStream(httpcore.AsyncNetworkStream):
    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self.read = stream.read  # type: ignore[method-assign]
        self.write = stream.write  # type: ignore[method-assign]
        self.aclose = stream.aclose  # type: ignore[method-assign]
        self.get_extra_info = stream.get_extra_info  # type: ignore[method-assign]

    async def start_tls(self, *arguments: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        try:
            return await self._stream.start_tls(*arguments, **options)
        except BaseException:  # httpcore closes it for an `Exception`; cancelling is none
            with anyio.CancelScope(shield=True), suppress(Exception):
                await self._stream.aclose()
            raise
