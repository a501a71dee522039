"""A TLS proxy in front of the API server that swallows: some events, or from a moment on everything.

It takes an HTTP answer apart into its chunks (RFC 9112, 7.1), since the API server sends each event of a
watch as one.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Self

from tests.tools.cluster import Cluster
from tests.tools.cluster._network import API


class Proxy:
    """Listens on loopback, in the network of whoever starts it; ends with the `with` block."""

    def __init__(self, cluster: Cluster) -> None:
        folder: Path = cluster.folder  # the API server's certificate is good for loopback, too
        self._own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._own.load_cert_chain(folder / "apiserver.crt", folder / "apiserver.key")
        self._there = ssl.create_default_context(cafile=str(cluster.ca))
        self.swallow: Callable[[bytes], bool] = lambda _: False
        """Which events do not come through."""
        self.swallowed = 0
        self._deaf: set[socket.socket] = set()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.server = f"https://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._begin(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._listener, *self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def go_deaf(self) -> None:
        """Nothing more comes through on connections that are open now; they stay open."""
        self._deaf |= self._open

    def _begin(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._begin(self._serve, self._listener.accept()[0])

    def _serve(self, raw: socket.socket) -> None:
        with (
            contextlib.suppress(OSError),
            self._own.wrap_socket(raw, server_side=True) as client,
            socket.create_connection((API, 443)) as plain,
            self._there.wrap_socket(plain, server_hostname=API) as server,
        ):
            self._open |= {client, server}
            try:
                self._pass_on(client, server)
            finally:
                self._open -= {client, server}

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        with client.makefile("rb") as asked, server.makefile("rb") as answer:
            while head := _head(asked):
                server.sendall(head)
                head = _head(answer)
                client.sendall(head)
                if b"chunked" in head.lower():
                    self._chunks(answer, client)
                else:
                    client.sendall(answer.read(_length(head)))

    def _chunks(self, answer: BinaryIO, client: socket.socket) -> None:
        while size := answer.readline():
            chunk = answer.read(int(size, 16) + 2)
            if client in self._deaf or self.swallow(chunk):
                self.swallowed += 1
            else:
                client.sendall(size + chunk)
            if int(size, 16) == 0:
                return


def tells_no_end(event: bytes) -> bool:
    """What the end of an object says, and what confirms a set. What begins a watch comes through."""
    return b'"type":"DELETED"' in event or (
        b'"type":"BOOKMARK"' in event and b"initial-events-end" not in event
    )


def _head(stream: BinaryIO) -> bytes:
    head = b""
    while (line := stream.readline()) not in (b"", b"\r\n"):
        head += line
    return head + b"\r\n" if head else b""


def _length(head: bytes) -> int:
    lines = head.lower().split(b"\r\n")
    return next(int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:"))
