"""Connections for a thread that waits on them and can be woken: what httpcore calls a network backend.

Rules of this room:

* Nothing blocks but `_wait`, which ends with what it waits for, at the deadline, or when somebody wakes it.
  So connecting to a black hole, a handshake and an idle stream all end at once when nobody waits any more.
* It polls, without epoll, so that nothing is shared with the child of a fork.
* In the child of a fork each connection is replaced by /dev/null: it is the parent's, and nothing is
  said on it (a TLS close would end it for the parent, too). Those of tasks are announced here as well.
* Keepalive finds a peer that is gone without a word, in about a minute.
"""

from __future__ import annotations

import os
import selectors
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol, cast
from weakref import WeakKeyDictionary

import httpcore

__all__ = ["KEEPALIVE", "CancelledError", "InterruptibleBackend", "of_this_process"]

_Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)


def _keepalive() -> tuple[tuple[int, int, int], ...]:
    """After 30 s of silence a probe every 10 s, three of them; where the platform lets one say so."""
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, value in ("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3):
        if hasattr(socket, name):
            options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    return tuple(options)


KEEPALIVE = _keepalive()


class _Descriptor(Protocol):
    def fileno(self) -> int: ...


_ours: WeakKeyDictionary[_Descriptor, int] = WeakKeyDictionary()
"""Open connections, and the process that each is of."""


def of_this_process(sock: _Descriptor) -> None:
    """The connection is of this process, and not for a child of it."""
    _ours[sock] = os.getpid()


def _leave_in_child() -> None:
    """Not by closing: whoever owns them in vain may yet do that, and the number may be another's by then."""
    for sock, pid in list(_ours.items()):
        if pid != os.getpid():
            with suppress(OSError):
                number = sock.fileno()
                if number >= 0:
                    nowhere = os.open(os.devnull, os.O_RDWR)
                    os.dup2(nowhere, number)
                    os.close(nowhere)
            del _ours[sock]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_in_child)


class CancelledError(Exception):
    """Nobody waits any more."""


class InterruptibleBackend(httpcore.NetworkBackend):
    """Makes connections, each for the thread that uses it. `deadline` says until when it may wait, now."""

    def __init__(self, deadline: Callable[[], float]) -> None:
        self._deadline = deadline
        self._woken, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        for end in self._woken, self._waker:
            of_this_process(end)

    def wake(self) -> None:
        """From another thread: whoever waits, or will, gets `CancelledError`."""
        with suppress(OSError):  # it is closed already, or full of earlier words
            self._waker.send(b"x")

    def close(self) -> None:
        self._woken.close()
        self._waker.close()

    def sleep(self, seconds: float) -> None:
        """Wait so long."""
        with suppress(TimeoutError):
            self._wait(None, False, time.monotonic() + seconds)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 -- httpcore's signature; the deadline counts
        local_address: str | None = None,  # noqa: ARG002 -- as above
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """A connection to the first address of `host` that takes one. Each has its share of the time."""
        trouble = OSError(f"{host} has no address")
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        for left, (family, kind, protocol, _, address) in zip(range(len(found), 0, -1), found, strict=True):
            try:
                sock = socket.socket(family, kind, protocol)
                return self._connected(sock, address, socket_options or (), left)
            except OSError as error:  # a black hole, a family that this machine does not have, …
                trouble = error
        raise trouble

    def _connected(
        self, sock: socket.socket, address: Any, options: Iterable[Any], shares: int
    ) -> httpcore.NetworkStream:
        of_this_process(sock)
        now = time.monotonic()
        try:
            sock.setblocking(False)
            for option in (*options, (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)):
                sock.setsockopt(*option)
            with suppress(BlockingIOError):
                sock.connect(address)
            self._wait(sock, True, now + (self._deadline() - now) / shares)
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        except BaseException:
            sock.close()
            raise
        if number == 0:
            return _Stream(self, sock)
        sock.close()
        raise OSError(number, os.strerror(number))  # which Python makes the fitting subclass

    def wait(self, sock: socket.socket, *, writing: bool) -> None:
        """Until it can be read from, or written to; `TimeoutError`, `CancelledError`."""
        self._wait(sock, writing, self._deadline())

    def _wait(self, sock: socket.socket | None, writing: bool, until: float) -> None:
        with _Selector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            if sock is not None:
                selector.register(sock, selectors.EVENT_WRITE if writing else selectors.EVENT_READ)
            while True:
                left = until - time.monotonic()
                ready = selector.select(max(0.0, min(left, 3600.0)))
                if any(key.fileobj is self._woken for key, _ in ready):
                    raise CancelledError
                if ready:
                    return
                if left <= 0:
                    raise TimeoutError


class _Stream(httpcore.NetworkStream):
    def __init__(self, backend: InterruptibleBackend, sock: socket.socket) -> None:
        self._backend = backend
        self._sock = sock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 -- as above
        return cast("bytes", self._do(lambda: self._sock.recv(max_bytes), writing=False))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002 -- as above
        while buffer:
            buffer = buffer[self._do(lambda: self._sock.send(buffer), writing=True) :]  # noqa: B023 - called at once

    def close(self) -> None:
        self._sock.close()

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
            self._sock.close()
            raise
        of_this_process(sock)
        stream = _Stream(self._backend, sock)
        try:
            stream._do(sock.do_handshake, writing=False)
        except BaseException:
            sock.close()
            raise
        return stream

    def get_extra_info(self, info: str) -> Any:
        if info == "ssl_object":
            return self._sock if isinstance(self._sock, ssl.SSLSocket) else None
        if info == "is_readable":  # httpcore asks whether an idle connection was ended by the server
            with _Selector() as selector:
                selector.register(self._sock, selectors.EVENT_READ)
                return bool(selector.select(0))
        return None

    def _do(self, act: Callable[[], Any], *, writing: bool) -> Any:
        """Do it as soon as the socket lets one."""
        while True:
            try:
                return act()
            except (BlockingIOError, ssl.SSLWantReadError) as block:
                self._backend.wait(
                    self._sock, writing=writing and not isinstance(block, ssl.SSLWantReadError)
                )
            except ssl.SSLWantWriteError:
                self._backend.wait(self._sock, writing=True)
