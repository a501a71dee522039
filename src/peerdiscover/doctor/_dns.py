"""Asking nameservers, one question after the other. Nothing is decided here.

Invariants:

* Each question has a fresh socket, and one second. A server is asked at most `MAX_QUESTIONS` of them.
* SERVFAIL and REFUSED are replies that failed; silence, and what answers another question, is None.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from peerdiscover.sources import _server
from peerdiscover.sources.dns._messages import MismatchedReply, RcodeError, read, write
from peerdiscover.sources.dns._types import Question, RecordType, Reply

from ._world import Server

MAX_QUESTIONS = 20
ROUND = 5
"""Answers of a server that are compared."""
SECONDS = 1.0


def ask_servers(addresses: Sequence[_server.Server], name: str, port: str | None) -> list[Server]:
    """What each server answers for the SRV records of `name`, and of `port`, `_http._tcp.name`."""
    with ThreadPoolExecutor(max(1, len(addresses))) as threads:
        return list(threads.map(lambda address: _ask_server(address, name, port), addresses))


def _ask_server(address: _server.Server, name: str, port: str | None) -> Server:
    heard = Server(str(address))
    question = Question(name, RecordType.SRV)
    for _ in range(ROUND):
        began = time.monotonic()
        reply, size = _ask(address, question, tcp=False)
        heard.udp.append(reply)
        heard.size = max(heard.size, size)
        if len(heard.udp) == 1:
            heard.seconds = time.monotonic() - began
        if len(heard.udp) == 3 and not any(heard.udp):
            break
    for _ in range(2):
        began = time.monotonic()
        heard.tcp.append(_ask(address, question, tcp=True)[0])
        heard.tcp_seconds = time.monotonic() - began
        if heard.tcp[-1] is not None:
            break
    if port is not None and not heard.is_silent:
        heard.port = _ask(address, Question(port, RecordType.SRV), tcp=not any(heard.udp))[0]
    return heard


def ask_again(heard: Sequence[Server], addresses: Sequence[_server.Server], name: str) -> None:
    """Another round of answers from each server that answers over UDP."""
    for server, address in zip(heard, addresses, strict=True):
        if any(server.udp):
            question = Question(name, RecordType.SRV)
            server.again = [_ask(address, question, tcp=False)[0] for _ in range(ROUND)]


def zone_exists(address: _server.Server, zone: str) -> bool | None:
    """Whether the server has TXT `dns-version.ZONE`, which each cluster's zone has; None: it did not answer.

    SERVFAIL and REFUSED are answers: a server says so for zones that it does not know and cannot forward.
    """
    import dns.exception
    import dns.message
    import dns.query
    import dns.rdatatype

    query = dns.message.make_query(f"dns-version.{zone}.", dns.rdatatype.TXT)
    try:
        reply = dns.query.udp(query, address.host, SECONDS, address.port)
    except (OSError, dns.exception.DNSException, ValueError):
        return None
    return any(rrset.rdtype == dns.rdatatype.TXT for rrset in reply.answer)


def _ask(address: _server.Server, question: Question, *, tcp: bool) -> tuple[Reply | None, int]:
    """The reply, and its size in bytes."""
    message_id = int.from_bytes(os.urandom(2))
    wire = write(question, message_id)
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    end = time.monotonic() + SECONDS
    try:
        with socket.socket(family, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as sock:
            sock.settimeout(SECONDS)
            sock.connect((address.host, address.port))
            sock.sendall(struct.pack("!H", len(wire)) + wire if tcp else wire)
            while (left := end - time.monotonic()) > 0:
                sock.settimeout(left)
                got = _whole(sock, end) if tcp else sock.recv(65535)
                with suppress(MismatchedReply):
                    return read(got, question, message_id), len(got)
                if tcp:
                    break
    except RcodeError as error:
        return Reply.failed(question, str(error)), 0
    except OSError:  # refused, unreachable, too late
        pass
    return None, 0


def _whole(sock: socket.socket, end: float) -> bytes:
    """One message over TCP."""
    got = bytearray()
    while len(got) < 2 or len(got) < 2 + struct.unpack_from("!H", got)[0]:
        sock.settimeout(max(0.001, end - time.monotonic()))
        chunk = sock.recv(65537)
        if not chunk:
            raise ConnectionResetError
        got += chunk
    return bytes(got[2:])
