"""A nameserver of forty lines on loopback that behaves as a test wants it to, badly for the most part."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

import dns.flags
import dns.message
import dns.rrset

Answers = Callable[[bytes], list[bytes]]
"""A query's bytes → the datagrams (over TCP: the messages, or None for hanging up) to send back."""


def nothing(query: bytes) -> list[bytes]:
    return []


def records(*texts: str, additional: tuple[str, ...] = (), flags: int = 0) -> Answers:
    """Answers every question with those records that fit its type; else with NODATA."""
    # Read once: hundreds of them take longer than a busy machine leaves for one answer.
    rrsets, glue = [_rrset(text) for text in texts], [_rrset(text) for text in additional]

    def answer(query: bytes) -> list[bytes]:
        message = dns.message.from_wire(query)
        (question,) = message.question
        reply = dns.message.make_response(message)
        reply.flags |= dns.flags.Flag(flags)
        reply.answer += [r for r in rrsets if (r.rdtype, r.name) == (question.rdtype, question.name)]
        reply.additional += glue
        return [reply.to_wire(max_size=65535)]

    return answer


def _rrset(text: str) -> dns.rrset.RRset:
    owner, kind, data = text.split(" ", 2)
    return dns.rrset.from_text(owner, 5, "IN", kind, data)


class Server:
    """Serves UDP, and TCP where `tcp` is given, at a port of its own in one thread."""

    def __init__(self, udp: Answers, tcp: Answers | None = None) -> None:
        self.udp, self.tcp = udp, tcp
        self.queries: list[tuple[str, bytes, int]] = []
        """(transport, bytes, the client's port) of each."""
        self._udp, self._tcp = _two_at_one_port()
        self._other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        if tcp is not None:
            self._tcp.listen()
        self.nameserver = f"127.0.0.1:{self._udp.getsockname()[1]}"
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._wake.send(b"x")
        self._thread.join()
        for sock in self._udp, self._other, self._tcp, self._wake, self._woken:
            sock.close()

    def send_late(self, wire: bytes, port: int) -> None:
        """Send the client a datagram that answers an earlier query."""
        self._udp.sendto(wire, ("127.0.0.1", port))

    def from_elsewhere(self, wire: bytes, port: int) -> None:
        """Send the client a datagram from another port."""
        self._other.sendto(wire, ("127.0.0.1", port))

    @property
    def transports(self) -> list[str]:
        return [transport for transport, _, _ in self.queries]

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            for sock in self._udp, self._woken, *([self._tcp] if self.tcp else []):
                selector.register(sock, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self._woken:
                        return
                    if key.fileobj is self._udp:
                        query, client = self._udp.recvfrom(65535)
                        self.queries.append(("udp", query, client[1]))
                        for wire in self.udp(query):
                            self._udp.sendto(wire, client)
                    else:
                        self._serve_tcp()

    def _serve_tcp(self) -> None:
        assert self.tcp is not None
        connection, client = self._tcp.accept()
        with connection, contextlib.suppress(OSError):
            connection.settimeout(5)
            (length,) = struct.unpack("!H", connection.recv(2, socket.MSG_WAITALL))
            query = connection.recv(length, socket.MSG_WAITALL)
            self.queries.append(("tcp", query, client[1]))
            for wire in self.tcp(query):
                whole = struct.pack("!H", len(wire)) + wire
                for at in range(0, len(whole), 20_000):
                    connection.sendall(whole[at : at + 20_000])


def _two_at_one_port() -> tuple[socket.socket, socket.socket]:
    """A UDP and a TCP socket at a port that is free for both."""
    while True:
        udp, tcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket()
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        udp.bind(("127.0.0.1", 0))
        try:
            tcp.bind(udp.getsockname())
        except OSError:  # somebody else has it
            udp.close()
            tcp.close()
        else:
            return udp, tcp


@contextlib.contextmanager
def closed_port() -> Iterator[str]:
    """A nameserver's text at whose port nobody listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.connect(("127.0.0.1", 9))  # takes nothing from anybody else: others are refused
        yield f"127.0.0.1:{sock.getsockname()[1]}"
