"""One transmission on one non-blocking socket. Drivers wait for it; nothing is decided here.

Invariants:

* Each transmission has its own connected socket: the kernel then lets through only what comes from the
  server that was asked, and reports a port on which nothing listens.
* Nothing blocks. `writing` says what to wait for, `ready` then does what can be done.
* In the child of a fork, the sockets of pending lookups are closed: their threads do not exist there.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from peerdiscover import _forks

from ._exchange import Transmission


class PendingQuery:
    """A transmission in flight. `OSError` from any method means that it has failed."""

    def __init__(self, transmission: Transmission) -> None:
        self.transmission = transmission
        self.writing = transmission.tcp
        self._received = bytearray()
        self._to_send = len(transmission.wire).to_bytes(2) + transmission.wire
        server = transmission.server
        family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
        kind = socket.SOCK_STREAM if transmission.tcp else socket.SOCK_DGRAM
        self.socket = socket.socket(family, kind)
        _forks.owns(self.socket)
        try:
            self.socket.setblocking(False)
            if transmission.tcp:
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with suppress(BlockingIOError):
                self.socket.connect((server.host, server.port))
            if not transmission.tcp:
                self.socket.send(transmission.wire)
        except BaseException:
            self.socket.close()
            raise

    def ready(self) -> bytes | None:
        """Do what can be done now. Returns a whole message, or None to wait again."""
        try:
            if self.writing:
                self._write()
                return None
            return self._read() if self.transmission.tcp else self.socket.recv(65535)
        except BlockingIOError:
            return None

    def _write(self) -> None:
        error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, os.strerror(error))  # Python picks the subclass that fits
        self._to_send = self._to_send[self.socket.send(self._to_send) :]
        self.writing = bool(self._to_send)

    def _read(self) -> bytes | None:
        chunk = self.socket.recv(65537)
        self._received += chunk
        expected = 2 if len(self._received) < 2 else 2 + int.from_bytes(self._received[:2])
        if not chunk:
            raise ConnectionResetError(f"closed after {len(self._received)} of {expected} bytes")
        return bytes(self._received[2:expected]) if len(self._received) >= expected else None

    def fileno(self) -> int:
        return self.socket.fileno()

    def close(self) -> None:
        self.socket.close()
