"""Pods: listening sockets on loopback that answer HTTP with their name.

Invariants:

* `http` decides and does no I/O. A pod's methods run in the loop's thread.
"""

from __future__ import annotations

import errno
import json
import select
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus

from ._addresses import listener
from ._loop import Connection, Loop

_HEAD_LIMIT = 65536


@dataclass(eq=False)
class Pod:
    """One pod. `index` is its ordinal in a StatefulSet."""

    index: int
    name: str
    hostname: str | None
    addresses: tuple[str, ...]
    ports: Mapping[str, int]
    """Numbers by name."""
    sockets: list[socket.socket]
    """Those that listen."""
    connections: set[Connection] = field(default_factory=set)
    fillers: list[socket.socket] = field(default_factory=list)
    """Connections to itself that keep its accept queue full: see `black_hole`."""
    requests: int = 0

    def serve(self, loop: Loop, accept: Callable[[Loop, socket.socket], None] | None = None) -> None:
        """Accept connections and answer on them; a virtual address leaves that to `accept`."""
        for sock in self.sockets:
            loop.listen(sock, partial(accept or self.accept, loop))

    def accept(self, loop: Loop, sock: socket.socket) -> None:
        """Answer the requests on this connection."""
        if self.fillers:  # a black hole that was reached through a virtual address
            loop.keep(sock)
            self.fillers.append(sock)
            return
        port = sock.getsockname()[1]
        connection = Connection(
            loop, sock, lambda received: http(received, lambda: self._whoami(port)), self.connections.discard
        )
        self.connections.add(connection)

    def stop(self, loop: Loop) -> None:
        """Close everything, including open connections."""
        for connection in list(self.connections):
            connection.close()
        for sock in (*self.fillers, *self.sockets):
            loop.forget(sock)
        self.sockets.clear()
        self.fillers.clear()

    def black_hole(self, loop: Loop) -> None:
        """Accept nothing and answer nothing from now on, like a node that was lost.

        Each port gets a listening socket whose queue is filled with connections from here, so the
        kernel drops every further SYN and `connect` hangs until its timeout. Connections that are
        open stay open and silent.
        """
        for connection in self.connections:
            loop.forget(connection.sock, close=False)
        addresses = [sock.getsockname()[:2] for sock in self.sockets]
        for sock in self.sockets:
            loop.forget(sock)
        self.sockets = [listener(address, port, backlog=1) for address, port in addresses]
        for sock in self.sockets:
            loop.keep(sock)
            for filler in _fill(sock):
                loop.keep(filler)
                self.fillers.append(filler)

    def _whoami(self, port: int) -> dict[str, object]:
        self.requests += 1
        return {
            "pod": self.hostname or self.name,
            "address": self.addresses[0],
            "port": port,
            "n": self.requests,
        }


def _fill(sock: socket.socket) -> list[socket.socket]:
    """Connect to a listening socket that is never accepted from, until the kernel takes no more."""
    fillers: list[socket.socket] = []
    for _ in range(16):  # Linux takes one more than the backlog, others a few more
        filler = socket.socket(sock.family, socket.SOCK_STREAM)
        filler.setblocking(False)
        fillers.append(filler)
        code = filler.connect_ex(sock.getsockname())
        if code not in (0, errno.EINPROGRESS):
            break
        if not select.select([], [filler], [], 0.02)[1]:
            break  # a loopback connection is immediate unless the queue is full
    return fillers


def http(received: bytearray, whoami: Callable[[], Mapping[str, object]]) -> tuple[bytes, bool]:
    """Answer the complete requests at the front of `received`, and remove them from it.

    Any method and path gets a 200 and a JSON object: what `whoami` returns, and the request's
    `method`, `path` and `host`.
    """
    out = bytearray()
    while True:
        head, found, _ = received.partition(b"\r\n\r\n")
        if not found:
            if len(received) > _HEAD_LIMIT:
                return bytes(out + _response(431, {})), False
            return bytes(out), True
        first, *lines = head.decode("latin-1").split("\r\n")
        fields = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
        }
        try:
            method, path, version = first.split(" ")
            length = int(fields.get("content-length", "0"))
        except ValueError:
            return bytes(out + _response(400, {})), False
        if "transfer-encoding" in fields:
            return bytes(out + _response(411, {})), False
        end = len(head) + 4 + length
        if fields.get("expect", "").lower() == "100-continue" and len(received) < end:
            return bytes(out + b"HTTP/1.1 100 Continue\r\n\r\n"), True
        if len(received) < end:
            return bytes(out), True
        del received[:end]
        connection = fields.get("connection", "").lower()
        keep = connection != "close" and (version == "HTTP/1.1" or connection == "keep-alive")
        body = {**whoami(), "method": method, "path": path, "host": fields.get("host")}
        out += _response(200, body, keep=keep, bodiless=method == "HEAD")
        if not keep:
            return bytes(out), False


def _response(
    status: int, body: Mapping[str, object], *, keep: bool = False, bodiless: bool = False
) -> bytes:
    text = json.dumps(body).encode()
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(text)}\r\nconnection: {'keep-alive' if keep else 'close'}\r\n\r\n"
    )
    return head.encode() + (b"" if bodiless else text)
