"""Carries bytes between sockets and a `Nameserver`: UDP, and TCP with its lengths.

Invariants: nothing is decided here. Everything but `open` runs in the loop's thread.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

from ._addresses import udp_and_tcp
from ._loop import Connection, Loop
from ._nameserver import Nameserver, Query, Transport

_DATAGRAMS = 64  # at a time, so that other sockets get their turn


class NameserverSockets:
    """The sockets of one nameserver, on one port of 127.0.0.1. `on_query` gets each question first."""

    def __init__(self, loop: Loop, nameserver: Nameserver, on_query: Callable[[Query], None]) -> None:
        self._loop = loop
        self._nameserver = nameserver
        self._on_query = on_query

    def open(self, *, tcp: bool) -> str:
        """Start serving and return `"127.0.0.1:PORT"`. Without `tcp`, connections are refused."""
        udp_socket, tcp_socket = udp_and_tcp("127.0.0.1")
        if tcp:
            tcp_socket.listen(128)
        host, port = udp_socket.getsockname()

        def serve() -> None:
            self._loop.add(udp_socket, lambda _events: self._datagrams(udp_socket))
            if tcp:
                self._loop.listen(tcp_socket, self._connected)
            else:
                self._loop.keep(tcp_socket)  # bound but not listening: no other process can take the port

        self._loop.run(serve)
        return f"{host}:{port}"

    def _datagrams(self, sock: socket.socket) -> None:
        for _ in range(_DATAGRAMS):
            try:
                data, source = sock.recvfrom(65535)
            except OSError:
                return
            answer = self._answer(data, "udp", source)
            if answer is not None:
                with contextlib.suppress(OSError):  # longer than a datagram can be, or the client is gone
                    sock.sendto(answer, source)

    def _connected(self, sock: socket.socket) -> None:
        source = sock.getpeername()

        def protocol(received: bytearray) -> tuple[bytes, bool]:
            out = bytearray()
            while len(received) >= 2 and len(received) >= (end := 2 + int.from_bytes(received[:2], "big")):
                data = bytes(received[2:end])
                del received[:end]
                answer = self._answer(data, "tcp", source)
                if answer is not None:
                    out += len(answer).to_bytes(2, "big") + answer
            return bytes(out), True

        Connection(self._loop, sock, protocol)

    def _answer(self, data: bytes, transport: Transport, source: tuple[str, int]) -> bytes | None:
        query = Query.of(data, transport, source)
        if query is not None:
            self._on_query(query)
        return self._nameserver.respond(data, transport=transport)
