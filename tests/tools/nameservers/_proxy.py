"""A bad network between the client and real servers: it takes turns, blocks TCP, and meddles.

Each question goes to a real server, and what that server answered is what `meddle` gets to see.
One thread; questions are handled one after the other.
"""

from __future__ import annotations

import itertools
import selectors
import socket
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, NamedTuple, Protocol, Self

import dns.message
import dns.rdatatype

from ._process import free_endpoint

_SILENCE = 5.0
"""Seconds after which an upstream that says nothing is passed over."""

__all__ = ["At", "FromElsewhere", "Meddle", "Proxy", "Seen", "Upstream"]


class Upstream(Protocol):
    """Who is asked: a `Server`, or anything else with an address and a port."""

    @property
    def address(self) -> str: ...
    @property
    def port(self) -> int: ...


class At(NamedTuple):
    """A nameserver that is not a `Server`."""

    address: str
    port: int

    @classmethod
    def parse(cls, nameserver: str) -> At:
        """Of `address:port`."""
        address, _, port = nameserver.rpartition(":")
        return cls(address, int(port))


class Seen(NamedTuple):
    """A question that came by."""

    name: str
    kind: str
    transport: str


@dataclass(frozen=True, slots=True)
class FromElsewhere:
    """A datagram that comes from a port that was never asked."""

    wire: bytes


Meddle = Callable[[dns.message.Message, bytes], Iterable[bytes | FromElsewhere]]
"""The question and the true answer; gives the datagrams to send, in order. Over TCP the first is sent."""


def _honest(question: dns.message.Message, answer: bytes) -> Iterable[bytes | FromElsewhere]:
    return (answer,)


class Proxy:
    """Hands questions to the upstreams in turn.

    `tcp`: "pass" hands it on, "refuse" has no listener, "drop" lets connections hang as a firewall does.
    `meddle` may be replaced at any time.
    """

    def __init__(
        self,
        *upstreams: Upstream,
        tcp: Literal["pass", "refuse", "drop"] = "pass",
        meddle: Meddle = _honest,
    ) -> None:
        self.address, self.port = free_endpoint()
        self.meddle: Meddle = meddle
        self.seen: list[Seen] = []
        self.errors: list[BaseException] = []
        self._upstreams = itertools.cycle(upstreams)
        self._tcp = tcp
        self._sockets: list[socket.socket] = []
        self._thread = threading.Thread(target=self._run, name=f"proxy on {self.nameserver}")

    @property
    def nameserver(self) -> str:
        """As the library's `nameservers=` takes it."""
        return f"{self.address}:{self.port}"

    def count(self, kind: str | None = None, transport: str | None = None) -> int:
        """How many questions came by: all, those of a type, those over "udp" or "tcp"."""
        return sum(kind in (None, seen.kind) and transport in (None, seen.transport) for seen in self.seen)

    def be_honest(self) -> None:
        """Meddles no more."""
        self.meddle = _honest

    def __enter__(self) -> Self:
        self._udp = self._socket(socket.SOCK_DGRAM)
        self._udp.bind((self.address, self.port))
        self._elsewhere = self._socket(socket.SOCK_DGRAM)
        self._elsewhere.bind((self.address, 0))
        self._listener = self._socket(socket.SOCK_STREAM)
        if self._tcp != "refuse":
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.bind((self.address, self.port))
            self._listener.listen(0 if self._tcp == "drop" else 16)
        if self._tcp == "drop":  # a full queue of connections that nobody accepts: the next ones hang
            for _ in range(4):
                filler = self._socket(socket.SOCK_STREAM)
                filler.setblocking(False)
                filler.connect_ex((self.address, self.port))
        self._wake, self._waker = socket.socketpair()
        self._sockets += [self._wake, self._waker]
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waker.send(b"!")
        self._thread.join()
        for each in self._sockets:
            each.close()
        assert not self.errors, self.errors

    def _socket(self, kind: socket.SocketKind) -> socket.socket:
        made = socket.socket(socket.AF_INET, kind)
        self._sockets.append(made)
        return made

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake, selectors.EVENT_READ)
            selector.register(self._udp, selectors.EVENT_READ)
            if self._tcp == "pass":
                selector.register(self._listener, selectors.EVENT_READ)
            while True:
                ready = {key.fileobj for key, _ in selector.select()}
                if self._wake in ready:
                    return
                try:
                    if self._udp in ready:
                        self._serve_datagram()
                    if self._listener in ready:
                        self._serve_connection()
                except (OSError, EOFError):
                    continue  # the client went away, or the upstream says nothing: so does this
                except Exception as error:  # shown when it ends
                    self.errors.append(error)

    def _serve_datagram(self) -> None:
        wire, client = self._udp.recvfrom(65535)
        question, upstream = self._note(wire, "udp"), next(self._upstreams)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as onward:
            onward.settimeout(_SILENCE)
            onward.connect((upstream.address, upstream.port))
            onward.send(wire)
            answer = onward.recv(65535)
        for datagram in self.meddle(question, answer):
            if isinstance(datagram, FromElsewhere):
                self._elsewhere.sendto(datagram.wire, client)
            else:
                self._udp.sendto(datagram, client)

    def _serve_connection(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(_SILENCE)
            wire = _read(connection)
            question, upstream = self._note(wire, "tcp"), next(self._upstreams)
            with socket.create_connection((upstream.address, upstream.port), timeout=_SILENCE) as onward:
                onward.sendall(len(wire).to_bytes(2, "big") + wire)
                answer = _read(onward)
            for first in self.meddle(question, answer):
                assert isinstance(first, bytes)
                connection.sendall(len(first).to_bytes(2, "big") + first)
                return

    def _note(self, wire: bytes, transport: str) -> dns.message.Message:
        question = dns.message.from_wire(wire)
        asked = question.question[0]
        self.seen.append(Seen(str(asked.name), dns.rdatatype.to_text(asked.rdtype), transport))
        return question


def _read(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as stream:
        size = int.from_bytes(stream.read(2), "big")
        wire = stream.read(size)
    if not size or len(wire) < size:
        raise EOFError
    return wire
