"""The addresses of pods: one each, one that they share, or addresses on which nothing listens.

Invariants:

* A binding is opened completely or not at all: all ports on all addresses.
* An address is never given out twice unless the caller chose it, so a pod that returns has a new one.
"""

from __future__ import annotations

import errno
import itertools
import random
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Literal, NamedTuple, TypeVar

from peerdiscover.errors import ConfigurationError

Family = Literal["ipv4", "ipv6", "dual"]
T = TypeVar("T")

_BACKLOG = 1024
_TRIES = 64


class Binding(NamedTuple):
    """The addresses, ports (numbers by name) and listening sockets of one pod."""

    addresses: tuple[str, ...]
    ports: Mapping[str, int]
    sockets: list[socket.socket]


class OwnAddresses:
    """Each pod listens on an address of its own in 127.64.0.0/10, with the ports as they are given."""

    def __init__(self, ports: Mapping[str, int]) -> None:
        self._ports = ports
        # Start in another /24 each time: several of these may run at once.
        self._numbers = itertools.count(random.randrange(1 << 14) * 254)

    def open(self, chosen: Sequence[str] = ()) -> Binding:
        def attempt() -> Binding:
            n = next(self._numbers) % (254 << 14)
            address = chosen[0] if chosen else f"127.{64 + n // (254 << 8)}.{n // 254 % 256}.{n % 254 + 1}"
            with ExitStack() as stack:
                sockets = [stack.enter_context(listener(address, port)) for port in self._ports.values()]
                stack.pop_all()
            return Binding((address,), self._ports, sockets)

        return _until_free(attempt, tries=1 if chosen else _TRIES)


class SharedAddress:
    """All pods listen on the loopback address and differ by port. The system chooses the numbers."""

    def __init__(self, names: Sequence[str], family: Family) -> None:
        self._names = names
        self._addresses = {"ipv4": ("127.0.0.1",), "ipv6": ("::1",), "dual": ("127.0.0.1", "::1")}[family]

    def open(self, chosen: Sequence[str] = ()) -> Binding:
        if not set(chosen) <= set(self._addresses):
            raise ConfigurationError(f"{', '.join(chosen)}: pods that share an address differ by port only")

        def attempt() -> Binding:
            ports: dict[str, int] = {}
            sockets: list[socket.socket] = []
            with ExitStack() as stack:
                for name in self._names:
                    port = 0  # a free one, then the same one on the other address
                    for address in self._addresses:
                        sockets.append(stack.enter_context(listener(address, port)))
                        ports[name] = port = sockets[-1].getsockname()[1]
                stack.pop_all()
            return Binding(self._addresses, ports, sockets)

        return _until_free(attempt)


class AddressesOnly:
    """Nothing listens. The pods have the given addresses, then made-up ones as in a cluster."""

    def __init__(
        self, ports: Mapping[str, int], family: Family, given: Sequence[str | Sequence[str]] = ()
    ) -> None:
        self._ports = ports
        self._family = family
        self._given = iter(given)
        self._numbers = itertools.count()

    def open(self, chosen: Sequence[str] = ()) -> Binding:
        return Binding(tuple(chosen) or self._next(), self._ports, [])

    def _next(self) -> tuple[str, ...]:
        given = next(self._given, None)
        if given is not None:
            return (given,) if isinstance(given, str) else tuple(given)
        n = next(self._numbers)
        four, six = f"10.{244 + n // (254 << 8)}.{n // 254 % 256}.{n % 254 + 1}", f"fd00:10:244::{n + 1:x}"
        return {"ipv4": (four,), "ipv6": (six,), "dual": (four, six)}[self._family]


Allocator = OwnAddresses | SharedAddress | AddressesOnly
"""Opens bindings, on the addresses that the caller chose or on the next free ones."""


def listener(address: str, port: int, *, backlog: int = _BACKLOG) -> socket.socket:
    """Return a listening socket; `port` 0 means any free one."""
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        # Connections of a pod that was here before may still be in TIME_WAIT.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address, port))
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        error.add_note(f"while opening a pod on {address}, port {port}")
        raise
    return sock


def udp_and_tcp(address: str) -> tuple[socket.socket, socket.socket]:
    """Return a UDP and a TCP socket on the same port; the TCP one does not listen yet."""

    def attempt() -> tuple[socket.socket, socket.socket]:
        with ExitStack() as stack:
            tcp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            tcp.bind((address, 0))
            udp.bind(tcp.getsockname())
            stack.pop_all()
        return udp, tcp

    return _until_free(attempt)


def can_bind_127() -> bool:
    """Return whether all of 127.0.0.0/8 can be bound, as on Linux, or only 127.0.0.1."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.64.0.1", 0))
    except OSError:
        return False
    return True


def _until_free(attempt: Callable[[], T], *, tries: int = _TRIES) -> T:
    """Repeat `attempt` until its address and port are free."""
    for left in range(tries - 1, -1, -1):
        try:
            return attempt()
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not left:
                raise
    raise AssertionError
