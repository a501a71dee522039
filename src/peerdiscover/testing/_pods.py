"""Pods: listening sockets on loopback that answer HTTP with their name.

Rules of this room:

* `http` decides and does no I/O; sockets are opened by the caller's thread and served by the loop's.
* A pod listens before it is heard of, and is gone from DNS before it stops.
"""

from __future__ import annotations

import errno
import json
import select
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from ._loop import Connection, Loop

__all__ = ["Pod", "http", "listener"]

_HEAD_LIMIT = 65536
_BACKLOG = 1024


@dataclass(eq=False)
class Pod:
    """One pod. `index` is its ordinal, or its place in a Deployment."""

    index: int
    name: str
    hostname: str | None
    addresses: tuple[str, ...]
    ports: Mapping[str, int]
    """The number under each port's name ("" for one without a name)."""
    sockets: list[socket.socket] = field(default_factory=list)
    connections: set[Connection] = field(default_factory=set)
    fillers: list[socket.socket] = field(default_factory=list)
    """Connections to itself that keep its queue full: see `black_hole`."""
    requests: int = 0

    def serve(self, loop: Loop) -> None:
        """In the loop's thread: accept and answer."""
        for sock in self.sockets:
            loop.listen(sock, lambda accepted: self.accept(loop, accepted))

    def accept(self, loop: Loop, sock: socket.socket) -> None:
        """In the loop's thread: answer on this connection."""
        port = sock.getsockname()[1]
        connection = Connection(
            loop, sock, lambda received: http(received, lambda: self._whoami(port)), self.connections.discard
        )
        self.connections.add(connection)

    def stop(self, loop: Loop) -> None:
        """In the loop's thread: close everything, open connections too."""
        for connection in list(self.connections):
            connection.close()
        for sock in (*self.fillers, *self.sockets):
            loop.forget(sock)
        self.sockets, self.fillers = [], []

    def black_hole(self, loop: Loop) -> None:
        """In the loop's thread: from now on accept nothing and answer nothing, as a node that was lost.

        Each port gets a listening socket whose queue is filled with connections from here, so that
        the kernel drops what comes next: a `connect` hangs until its timeout. Connections that are
        open stay open, and silent.
        """
        for connection in self.connections:
            loop.forget(connection.sock, close=False)
        addresses = [sock.getsockname()[:2] for sock in self.sockets]
        for sock in self.sockets:
            loop.forget(sock)
        self.sockets = [listener(address, port, backlog=0) for address, port in addresses]
        for sock in self.sockets:
            loop.keep(sock)
            for filler in _fill(sock):
                loop.keep(filler)
                self.fillers.append(filler)

    def _whoami(self, port: int) -> dict[str, object]:
        self.requests += 1
        return {"pod": self.hostname or self.name, "address": self.addresses[0], "port": port, "n": self.requests}


def listener(address: str, port: int, *, backlog: int = _BACKLOG) -> socket.socket:
    """A listening socket; `port` 0 takes a free one."""
    sock = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        # Connections of a pod that was here before may still be in TIME_WAIT.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address, port))
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def _fill(sock: socket.socket) -> list[socket.socket]:
    """Connections to a listening socket that nobody accepts from, until the kernel takes no more."""
    fillers: list[socket.socket] = []
    for _ in range(16):  # Linux takes one more than the backlog, others a few more
        filler = socket.socket(sock.family, socket.SOCK_STREAM)
        filler.setblocking(False)
        fillers.append(filler)
        code = filler.connect_ex(sock.getsockname())
        if code not in (0, errno.EINPROGRESS):
            break
        if not select.select([], [filler], [], 0.02)[1]:
            break  # not connected at once, on loopback: the queue is full
    return fillers


def http(received: bytearray, whoami: Callable[[], Mapping[str, object]]) -> tuple[bytes, bool]:
    """Answers the whole requests at the front of `received`, and takes them from it.

    The answer to any method and path is 200 and a JSON object: what `whoami` says, and the
    request's `method`, `path` and `host`.
    """
    out = bytearray()
    while True:
        head, found, _ = received.partition(b"\r\n\r\n")
        if not found:
            if len(received) > _HEAD_LIMIT:
                return bytes(out + _response(431, {})), False
            return bytes(out), True
        first, *lines = head.decode("latin-1").split("\r\n")
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
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
        wish = fields.get("connection", "").lower()
        keep = wish != "close" and (version == "HTTP/1.1" or wish == "keep-alive")
        body = {**whoami(), "method": method, "path": path, "host": fields.get("host")}
        out += _response(200, body, keep=keep, bodiless=method == "HEAD")
        if not keep:
            return bytes(out), False


def _response(status: int, body: Mapping[str, object], *, keep: bool = False, bodiless: bool = False) -> bytes:
    text = json.dumps(body).encode()
    head = (
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(text)}\r\nconnection: {'keep-alive' if keep else 'close'}\r\n\r\n"
    )
    return head.encode() + (b"" if bodiless else text)
