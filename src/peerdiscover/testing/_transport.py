"""Carries bytes between sockets and a `Nameserver`: UDP, and TCP with its lengths.

Rules of this room: nothing is decided here. Everything but `open` runs in the loop's thread.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

from ._addresses import udp_and_tcp
from ._loop import Connection, Loop
from ._nameserver import Nameserver, Query, Transport

__all__ = ["Carrier"]

_DATAGRAMS = 64  # at a time, so that others get their turn


class Carrier:
    """The sockets of one nameserver, on one port of 127.0.0.1. `heard` is told each question first."""

    def __init__(self, loop: Loop, nameserver: Nameserver, heard: Callable[[Query], None]) -> None:
        self._loop = loop
        self._nameserver = nameserver
        self._heard = heard

    def open(self, *, tcp: bool) -> str:
        """Serves from now on; returns `"127.0.0.1:PORT"`. Without `tcp` connections are refused."""
        udp_socket, tcp_socket = udp_and_tcp("127.0.0.1")
        if tcp:
            tcp_socket.listen(128)
        host, port = udp_socket.getsockname()

        def serve() -> None:
            self._loop.add(udp_socket, lambda _events: self._datagrams(udp_socket))
            if tcp:
                self._loop.listen(tcp_socket, self._connected)
            else:
                self._loop.keep(tcp_socket)  # bound and not listening: the port stays ours

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
                with contextlib.suppress(OSError):  # longer than a datagram can be, or nobody there
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
            self._heard(query)
        return self._nameserver.respond(data, transport=transport)
