"""Carries the bytes of DNS between sockets and what answers: UDP, and TCP with its lengths.

Invariants: nothing is decided here. Everything but `serve_dns` runs in the loop's thread.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable

from ._addresses import udp_and_tcp
from ._loop import Connection, Loop
from ._nameserver import Transport

_DATAGRAMS = 64  # at a time, so that other sockets get their turn

Respond = Callable[[bytes, Transport, tuple[str, int]], bytes | None]
"""The answer to the bytes of a question that came from there; None: no answer."""


def serve_dns(loop: Loop, respond: Respond, *, tcp: bool) -> str:
    """Serve on a port of 127.0.0.1, return `"127.0.0.1:PORT"`. Without `tcp`, connections are refused."""
    udp_socket, tcp_socket = udp_and_tcp("127.0.0.1")
    if tcp:
        tcp_socket.listen(128)
    host, port = udp_socket.getsockname()

    def serve() -> None:
        loop.add(udp_socket, lambda _events: _datagrams(udp_socket, respond))
        if tcp:
            loop.listen(tcp_socket, lambda connection: _connected(loop, connection, respond))
        else:
            loop.keep(tcp_socket)  # bound but not listening: no other process can take the port

    loop.run(serve)
    return f"{host}:{port}"


def _datagrams(sock: socket.socket, respond: Respond) -> None:
    for _ in range(_DATAGRAMS):
        try:
            data, source = sock.recvfrom(65535)
        except OSError:
            return
        answer = respond(data, "udp", source)
        if answer is not None:
            with contextlib.suppress(OSError):  # longer than a datagram can be, or the client is gone
                sock.sendto(answer, source)


def _connected(loop: Loop, sock: socket.socket, respond: Respond) -> None:
    source = sock.getpeername()

    def protocol(received: bytearray) -> tuple[bytes, bool]:
        out = bytearray()
        while len(received) >= 2 and len(received) >= (end := 2 + int.from_bytes(received[:2], "big")):
            data = bytes(received[2:end])
            del received[:end]
            answer = respond(data, "tcp", source)
            if answer is not None:
                out += len(answer).to_bytes(2, "big") + answer
        return bytes(out), True

    Connection(loop, sock, protocol)
