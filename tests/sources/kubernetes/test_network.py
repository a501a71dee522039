"""Connecting to a host of several addresses, of which some do not answer."""

from __future__ import annotations

import socket
import ssl
import threading
import time
import types
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from typing import Any

import pytest

from peerdiscover.sources.kubernetes._network import CancelledError, InterruptibleBackend
from tests.waiting import LONG

Address = tuple[socket.AddressFamily, tuple[str, int]]
Found = Callable[..., None]


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Found:
    """Says which addresses a host has."""

    def says(*addresses: Address) -> None:
        answer = [(family, socket.SOCK_STREAM, 6, "", address) for family, address in addresses]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)

    return says


@pytest.fixture
def there() -> Iterator[Address]:
    """Somebody listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        yield socket.AF_INET, listener.getsockname()


@pytest.fixture
def black_hole() -> Iterator[Address]:
    """Nothing is heard of who connects: the queue of those who wait is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0), backlog=0)))
        with suppress(TimeoutError):
            for _ in range(50):
                stack.enter_context(closing(socket.create_connection(listener.getsockname(), 0.2)))
            pytest.fail("everybody was let in")
        yield socket.AF_INET, listener.getsockname()


@pytest.fixture
def refused() -> Address:
    """Nobody listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return socket.AF_INET, listener.getsockname()


def peer_of(within: float) -> tuple[str, int]:
    end = time.monotonic() + within
    with closing(InterruptibleBackend(lambda: end).connect_tcp("api.example", 443)) as stream:
        peer: tuple[str, int] = stream._sock.getpeername()  # type: ignore[attr-defined]
        return peer


def test_the_first_that_takes_one(found: Found, refused: Address, there: Address) -> None:
    # Nobody may connect to a broadcast address: that fails at once, in `connect` itself.
    broadcast = socket.AF_INET, ("255.255.255.255", 443)
    unknown_family = socket.AddressFamily.AF_PACKET, ("127.0.0.1", 443)
    found(refused, broadcast, unknown_family, there)
    assert peer_of(LONG) == there[1]


def test_a_black_hole_has_its_share_of_the_time_and_no_more(
    found: Found, black_hole: Address, there: Address
) -> None:
    found(black_hole, there)
    assert peer_of(4) == there[1]


def test_nobody(found: Found, black_hole: Address, refused: Address) -> None:
    found(refused)
    with pytest.raises(ConnectionRefusedError):
        peer_of(LONG)
    found(refused, black_hole)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        peer_of(0.5)
    assert 0.4 < time.monotonic() - began < LONG


def test_a_thread_that_connects_is_woken(found: Found, black_hole: Address) -> None:
    found(black_hole)
    backend = InterruptibleBackend(lambda: time.monotonic() + 60)
    threading.Timer(0.2, backend.wake).start()  # most likely while it waits; before or after it is the same
    began = time.monotonic()
    with pytest.raises(CancelledError):
        backend.connect_tcp("api.example", 443)
    assert time.monotonic() - began < LONG
    with pytest.raises(CancelledError):
        backend.sleep(60)


def test_a_backend_that_was_cancelled_before_makes_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[socket.socket] = []

    def counted(*arguments: Any) -> socket.socket:
        made.append(socket.socket(*arguments))
        return made[-1]

    backend = InterruptibleBackend(lambda: time.monotonic() + 60)
    backend.wake()
    module = types.SimpleNamespace(**{**vars(socket), "socket": counted})
    monkeypatch.setattr("peerdiscover.sources.kubernetes._network.socket", module)
    with pytest.raises(CancelledError):
        backend.connect_tcp("127.0.0.1", 1)
    assert made == []


def test_a_wake_between_the_socket_and_its_connecting(found: Found, black_hole: Address) -> None:
    """Except on Linux, shutting down a socket that does not connect yet does nothing to it."""
    found(black_hole)
    backend = InterruptibleBackend(lambda: time.monotonic() + LONG)
    opened = backend.opened

    def wake_at_once(sock: socket.socket) -> None:
        opened(sock)
        backend.wake()

    backend.opened = wake_at_once  # type: ignore[method-assign]
    began = time.monotonic()
    with pytest.raises(CancelledError):
        backend.connect_tcp("api.example", 443)
    assert time.monotonic() - began < LONG


def test_a_wake_while_tls_takes_the_socket_over(there: Address) -> None:
    """It shuts down the one that was there before, which is nobody's any more."""
    backend = InterruptibleBackend(lambda: time.monotonic() + LONG)
    context = ssl.create_default_context()
    wrap = context.wrap_socket

    def wrap_and_wake(*arguments: Any, **options: Any) -> ssl.SSLSocket:
        sock = wrap(*arguments, **options)
        backend.wake()
        return sock

    context.wrap_socket = wrap_and_wake  # type: ignore[method-assign]
    stream = backend.connect_tcp(*there[1])
    began = time.monotonic()
    with pytest.raises(CancelledError):
        stream.start_tls(context, "api.example")  # nobody shakes hands
    assert time.monotonic() - began < LONG


def test_deadline_and_waker_are_looked_at_before_each_read() -> None:
    """However fast the server sends: the system has no say in it."""
    deadline = time.monotonic() + LONG
    backend = InterruptibleBackend(lambda: deadline)
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        stream = backend.connect_tcp(*listener.getsockname())
        with closing(listener.accept()[0]) as server, closing(stream):
            server.sendall(b"three")
            assert stream.read(1) == b"t"
            deadline = time.monotonic()
            with pytest.raises(TimeoutError):
                stream.read(1)
            deadline = time.monotonic() + LONG
            assert stream.read(1) == b"h"
            backend.wake()  # what has come already may still be read from a socket that was shut down
            with pytest.raises(CancelledError):
                stream.read(1)


def test_a_wake_while_it_reads_is_no_end_of_what_the_server_sends(there: Address) -> None:
    """A socket that was shut down reads like one that the server has closed."""
    backend = InterruptibleBackend(lambda: time.monotonic() + LONG)
    with closing(backend.connect_tcp(*there[1])) as stream:
        threading.Timer(0.2, backend.wake).start()  # most likely while it reads; before it is the same
        with pytest.raises(CancelledError):
            stream.read(1)
