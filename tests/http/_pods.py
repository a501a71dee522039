"""Pods that misbehave as they are told, and a service of such pods.

Each pod is a listening socket on an address of its own (127.x.y.z) with a thread a connection. Bodies
and headers are read in full before it answers, and each request is noted, with its id: so a test can
say what was executed, and how often.
"""

from __future__ import annotations

import itertools
import random
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

from peerdiscover import Peer
from tests.waiting import LONG

Manner = Literal[
    "ok",  # answers
    "error",  # answers 500
    "busy",  # answers 503, with Retry-After
    "silent",  # reads the request, and never answers
    "deaf",  # accepts, and reads nothing
    "drop",  # reads the request, and closes
    "half",  # begins an answer, and closes
    "slow",  # answers when it is told to
    "bye",  # answers, and then closes without having said so
]
_networks = itertools.count(random.randrange(1 << 16))


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    done: bool = False
    at: float = field(default_factory=time.monotonic)
    """When it had arrived."""


@dataclass
class Pod:
    name: str
    address: str
    port: int
    context: ssl.SSLContext | None = None
    manner: Manner = "ok"
    requests: list[Request] = field(default_factory=list)
    accepted: int = 0
    go: threading.Event = field(default_factory=threading.Event)
    """Lets a slow one answer."""
    heard: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    """Released once for each request that was read."""
    ended: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    """Released once for each connection that ended."""

    def __post_init__(self) -> None:
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self.start()

    @property
    def peer(self) -> Peer:
        return Peer(self.name, self.address, self.port, hostname=self.name, fqdn=f"{self.name}.web.prod.svc.")

    @property
    def text(self) -> str:
        return f"{self.name}={self.address}:{self.port}"

    def start(self) -> None:
        """Listen: again, on the same port, after `stop`."""
        self._listener = socket.create_server((self.address, self.port), backlog=256)
        self.port = self._listener.getsockname()[1]
        self._spawn(self._accept, self._listener)

    def stop(self) -> None:
        """Refuse connections; those that are open end at once."""
        self.refuse()
        self.cut()
        for thread in list(self._threads):
            thread.join(LONG)
            assert not thread.is_alive()
        self._threads.clear()

    def refuse(self) -> None:
        """Refuse new connections; those that are open go on."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def cut(self) -> None:
        """End the open connections."""
        self.go.set()
        with self._lock:
            for sock in self._open:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _spawn(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, name=f"pod {self.name}")  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            self.accepted += 1
            with self._lock:
                self._open.add(sock)
            self._spawn(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        plain = sock
        try:
            if self.manner == "deaf":
                self.go.wait()
                return
            if self.context is not None:
                sock = self.context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
                with self._lock:
                    self._open.discard(plain)
                    self._open.add(sock)
                self._shake_hands(sock)
            with sock.makefile("rb") as file:
                while self._answer(sock, file):
                    pass
        except OSError:  # a client that went, or `cut`
            pass
        finally:
            with self._lock:
                self._open.discard(plain)
                self._open.discard(sock)
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
            self.ended.release()

    def _shake_hands(self, sock: ssl.SSLSocket) -> None:
        try:
            sock.do_handshake()
        except ssl.SSLError:
            # A client that has sent more already must not find the connection reset before it reads why.
            socket.socket.shutdown(sock, socket.SHUT_WR)
            while socket.socket.recv(sock, 65536):
                pass
            raise

    def _answer(self, sock: socket.socket, file: object, /) -> bool:
        if file.peek(1)[:1] == b"\x16":  # type: ignore[attr-defined]  # a ClientHello, where HTTP is expected
            sock.sendall(b"HTTP/1.1 400 What\r\ncontent-length: 0\r\n\r\n")
            return False
        request = _read(file)
        if request is None:
            return False
        if request.method == "PRI":  # HTTP/2's preface
            sock.sendall(b"HTTP/1.1 400 What\r\ncontent-length: 0\r\n\r\n")
            return False
        self.requests.append(request)
        manner = self.manner
        self.heard.release()
        if manner in ("silent", "slow"):
            self.go.wait()
            if manner == "silent":
                return False
        if manner == "drop":
            return False
        status = {"error": "500 Oops", "busy": "503 Busy\r\nretry-after: 1"}.get(manner, "200 OK")
        body = f"{self.name} {request.headers.get('host')}".encode()
        if manner == "half":
            sock.sendall(f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body[:3])
            return False
        if request.path == "/moved":
            status = "307 There\r\nlocation: /"
        request.done = True
        sock.sendall(f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        return manner != "bye"


def _read(file: object) -> Request | None:
    readline, read = file.readline, file.read  # type: ignore[attr-defined]
    first = readline()
    if not first:
        return None
    method, path, _ = first.decode().split(" ", 2)
    headers: dict[str, str] = {}
    while (line := readline().decode().rstrip("\r\n")) != "":
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while (line := readline()) and (size := int(line, 16)):
            body += read(size)
            readline()
        if not line:  # the client gave up in the middle
            return None
        readline()
    else:
        wanted = int(headers.get("content-length", "0"))
        body = read(wanted)
        if len(body) < wanted:
            return None
    return Request(method, path, headers, body)


class Pods:
    """The pods of a service, and which of them the discovery is told of (`shown`)."""

    def __init__(self, size: int, context: ssl.SSLContext | None = None) -> None:
        number = next(_networks)
        self.network = f"127.{100 + number // 256 % 100}.{number % 256}"
        self.all = [Pod(f"web-{i}", f"{self.network}.{i + 1}", 0, context) for i in range(size)]
        self.shown: list[Pod] = list(self.all)

    def __getitem__(self, i: int) -> Pod:
        return self.all[i]

    def source(self) -> list[Peer]:
        """For `Discovery(source=…)`."""
        return [pod.peer for pod in self.shown]

    def manner(self, manner: Manner) -> None:
        for pod in self.all:
            pod.manner = manner

    @property
    def requests(self) -> list[Request]:
        return [request for pod in self.all for request in pod.requests]

    def executed(self) -> Counter[str]:
        """How often each id (the header `id`) arrived."""
        return Counter(request.headers.get("id", "") for request in self.requests)


@contextmanager
def pods(size: int = 3, context: ssl.SSLContext | None = None) -> Iterator[Pods]:
    service = Pods(size, context)
    try:
        yield service
    finally:
        for pod in service.all:
            pod.stop()


@contextmanager
def scripted(
    answer: Callable[[Pod, socket.socket, Request], bool],
    size: int = 1,
    context: ssl.SSLContext | None = None,
) -> Iterator[Pods]:
    """Pods that answer each request by `answer`, which returns whether the connection goes on."""

    class Scripted(Pod):
        def _answer(self, sock: socket.socket, file: object, /) -> bool:
            request = _read(file)
            if request is None:
                return False
            self.requests.append(request)
            self.heard.release()
            return answer(self, sock, request)

    with pods(0) as service:
        scripted: list[Pod] = [
            Scripted(f"web-{i}", f"{service.network}.{i + 1}", 0, context) for i in range(size)
        ]
        service.all = scripted
        service.shown = list(service.all)
        yield service
