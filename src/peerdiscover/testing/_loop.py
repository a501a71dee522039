"""One thread that serves sockets: the nameserver's and the pods'.

Invariants:

* Only the loop's thread touches what is registered. Other threads pass it a function (`run`) and wait
  for the result, so the change is complete when the call returns.
* The answers are decided elsewhere: a protocol takes complete requests from the bytes received so far
  and returns the bytes to send.
* A forked child has no such thread, and its copies of the sockets are closed (`_forks`): otherwise a pod
  that ended in the parent would still accept connections.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from peerdiscover import _forks

T = TypeVar("T")


ConnectionProtocol = Callable[[bytearray], tuple[bytes, bool]]
"""Takes complete requests from what was received; returns the bytes to send, and whether to go on."""


class Loop:
    """Calls a function for each socket that becomes ready, until `close`."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._calls: deque[Callable[[], None]] = deque()
        self._stopping = False
        self._errors: list[Exception] = []
        self._sockets: set[socket.socket] = set()
        self._selector.register(self._wake_in, selectors.EVENT_READ, self._woken)
        self._thread = threading.Thread(target=self._serve, name="peerdiscover-testing", daemon=True)
        _forks.owns(self._wake_in)
        _forks.owns(self._wake_out)
        self._thread.start()

    def close(self) -> None:
        """Close everything that is registered and end the thread. Raise the first error of a handler."""
        if self._thread.is_alive():
            self.run(lambda: setattr(self, "_stopping", True))
            self._thread.join()
        for sock in (*self._sockets, self._wake_in, self._wake_out):
            sock.close()
        self._sockets.clear()
        self._selector.close()
        if self._errors:
            raise self._errors[0]

    def run(self, function: Callable[[], T]) -> T:
        """Call `function` in the loop's thread; return what it returns, or raise what it raises."""
        result: Future[T] = Future()

        def call() -> None:
            try:
                result.set_result(function())
            except BaseException as error:  # noqa: BLE001  raised in the caller's thread
                result.set_exception(error)

        self._calls.append(call)
        self._wake_out.send(b"\0")
        return result.result()

    def add(self, sock: socket.socket, ready: Callable[[int], None]) -> None:
        """In the loop's thread: call `ready(events)` whenever the socket can be read."""
        self.keep(sock)
        sock.setblocking(False)
        self._selector.register(sock, selectors.EVENT_READ, ready)

    def listen(self, sock: socket.socket, accepted: Callable[[socket.socket], None]) -> None:
        """In the loop's thread: call `accepted` with each new connection."""

        def ready(_events: int) -> None:
            try:
                connection = sock.accept()[0]
            except OSError:  # gone again, or too many open files
                return
            try:
                accepted(connection)
            except OSError:
                connection.close()

        self.add(sock, ready)

    def wait_for(self, sock: socket.socket, events: int) -> None:
        """In the loop's thread: wait for these events instead."""
        self._selector.modify(sock, events, self._selector.get_key(sock).data)

    def forget(self, sock: socket.socket, *, close: bool = True) -> None:
        """In the loop's thread: stop serving it. Without `close` it stays open and silent."""
        if sock.fileno() >= 0:
            with contextlib.suppress(KeyError):
                self._selector.unregister(sock)
        if close:
            self._sockets.discard(sock)
            sock.close()

    def keep(self, sock: socket.socket) -> None:
        """In the loop's thread: do not serve it, but close it with the loop."""
        _forks.owns(sock)
        self._sockets.add(sock)

    def _woken(self, _events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_in.recv(4096)
        while self._calls:
            self._calls.popleft()()

    def _serve(self) -> None:
        while not self._stopping:
            for key, events in self._selector.select():
                if key.fileobj in self._sockets or key.fileobj is self._wake_in:
                    try:
                        key.data(events)
                    except Exception as error:  # noqa: BLE001  the thread continues, and `close` raises it
                        self._errors.append(error)


class Connection:
    """One accepted connection and its protocol. Used only in the loop's thread."""

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        protocol: ConnectionProtocol,
        closed: Callable[[Connection], None] = lambda _: None,
    ) -> None:
        self.sock = sock
        self._loop = loop
        self._protocol = protocol
        self._closed = closed
        self._received = bytearray()
        self._to_send = bytearray()
        self._ending = False
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop.add(sock, self._ready)

    def close(self) -> None:
        self._loop.forget(self.sock)
        self._closed(self)

    def _ready(self, events: int) -> None:
        try:
            if events & selectors.EVENT_READ:
                self._read()
            if self.sock.fileno() >= 0:
                self._write()
        except BlockingIOError:
            pass
        except OSError:
            self.close()

    def _read(self) -> None:
        data = self.sock.recv(65536)
        if not data:
            self.close()
            return
        self._received += data
        if self._ending:
            return
        answer, go_on = self._protocol(self._received)
        self._to_send += answer
        self._ending = not go_on

    def _write(self) -> None:
        if self._to_send:
            sent = self.sock.send(self._to_send)
            del self._to_send[:sent]
        if not self._to_send and self._ending:
            self.close()
            return
        self._loop.wait_for(self.sock, selectors.EVENT_READ | (selectors.EVENT_WRITE if self._to_send else 0))
