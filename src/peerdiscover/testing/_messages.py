"""DNS messages in bytes: reads a question, writes an answer that fits.

Invariants:

* No I/O and no state. A name is in wire form without compression (`b"\\x03web\\x04prod\\x00"`), spelled
  as in the question, because a server repeats the spelling.
* Sizes are those of CoreDNS, and so of github.com/miekg/dns (`Msg.Truncate`): an answer that fits
  uncompressed is sent so; otherwise it is compressed (RFC 1035, 4.1.4), and if it is still too long,
  truncated with TC set. The same holds over TCP.
* The target of an SRV record is not compressed (RFC 2782), but later names may point into it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

TYPES = {
    "A": 1,
    "NS": 2,
    "CNAME": 5,
    "SOA": 6,
    "PTR": 12,
    "MX": 15,
    "TXT": 16,
    "AAAA": 28,
    "SRV": 33,
    "OPT": 41,
    "IXFR": 251,
    "AXFR": 252,
    "ANY": 255,
}
RCODES = {"NOERROR": 0, "FORMERR": 1, "SERVFAIL": 2, "NXDOMAIN": 3, "NOTIMP": 4, "REFUSED": 5, "BADVERS": 16}

_QR, _AA, _TC, _RD, _CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0010
_HEADER = struct.Struct("!6H")
_FIXED = struct.Struct("!HHIH")  # type, class, TTL, length of the data
_IN = 1
_POINTABLE = 1 << 14  # a pointer has 14 bits
_TCP_SIZE = 65535
# A UDP answer above these sizes is compressed even if it fits, to avoid IP fragments (CoreDNS's
# `Request.Scrub`, which took the numbers from NSD).
_UNFRAGMENTED = {4: 1480, 6: 1220}


class MalformedError(ValueError):
    """Not a question that a server can answer. `header` is the start of an error reply; None: send none."""

    def __init__(self, why: str, header: bytes | None, rcode: int = RCODES["FORMERR"]) -> None:
        super().__init__(why)
        self.header = header
        self.rcode = rcode


@dataclass(frozen=True, slots=True)
class Question:
    id: int
    flags: int
    name: bytes
    type: int
    class_: int = _IN
    edns: int | None = None
    """The largest UDP answer that the client accepts, as it wrote it; None: no EDNS."""
    edns_version: int = 0
    edns_flags: int = 0


class RR(NamedTuple):
    """A record. Its data is `head`, then `names`, then `tail`."""

    owner: bytes
    type: int
    ttl: int
    head: bytes = b""
    names: tuple[bytes, ...] = ()
    tail: bytes = b""


@dataclass(slots=True)
class Reply:
    """What a server replies to a question, before truncation."""

    rcode: int = 0
    answer: Sequence[RR] = ()
    authority: Sequence[RR] = ()
    additional: Sequence[RR] = ()
    authoritative: bool = False
    truncated: bool = False


def name_of(text: str) -> bytes:
    """Return the wire form of a name, with or without a trailing dot."""
    labels = [label.encode() for label in text.rstrip(".").split(".")] if text.strip(".") else []
    return b"".join(bytes((len(label),)) + label for label in labels) + b"\0"


def labels_of(name: bytes) -> list[str]:
    """Return the labels of a wire name, without the root."""
    labels, at = [], 0
    while length := name[at]:
        labels.append(name[at + 1 : at + 1 + length].decode("latin-1"))
        at += 1 + length
    return labels


def read_question(data: bytes) -> Question:
    """Read the question in a datagram, or raise `MalformedError`."""
    if len(data) < _HEADER.size:
        raise MalformedError("shorter than a header", None)
    ident, flags, questions, answers, authorities, extras = _HEADER.unpack_from(data)
    if flags & _QR:
        raise MalformedError("an answer, not a question", None)
    if flags & 0x7800:
        raise MalformedError("not a query", data[:4], RCODES["NOTIMP"])
    if questions != 1 or answers or authorities > 1 or extras > 2:
        raise MalformedError("expected one question", data[:4])
    edns: int | None = None
    name, kind, class_, ttl = b"", 0, 0, 0
    try:
        name, at = _read_name(data, _HEADER.size)
        kind, class_ = struct.unpack_from("!HH", data, at)
        at += 4
        for _ in range(authorities + extras):
            _, at = _read_name(data, at)
            rtype, size, record_ttl, length = _FIXED.unpack_from(data, at)
            at += _FIXED.size + length
            if rtype == TYPES["OPT"]:
                edns, ttl = size, record_ttl
    except (IndexError, struct.error):
        at = len(data) + 1
    if at > len(data):
        raise MalformedError("cut short", data[:4])
    return Question(ident, flags, name, kind, class_, edns, ttl >> 16 & 0xFF, ttl & 0xFF00)


def _read_name(data: bytes, at: int) -> tuple[bytes, int]:
    """Read a name of a question, which cannot be compressed: nothing precedes it."""
    start = at
    while length := data[at]:
        if length > 63 or at - start > 254:
            raise IndexError
        at += 1 + length
    return data[start : at + 1], at + 1


def write_error(header: bytes, rcode: int) -> bytes:
    """Write the reply to a message that could not be read."""
    ident, flags = struct.unpack("!HH", header)
    return _HEADER.pack(ident, _QR | (flags & (0x7800 | _RD | _CD)) | rcode, 0, 0, 0, 0)


def write_reply(question: Question, reply: Reply, *, tcp: bool, family: int = 4) -> bytes:
    """Write a reply, truncated to what the client accepts."""
    size = _TCP_SIZE if tcp else max(512, question.edns or 0)
    sections = (reply.answer, reply.authority, reply.additional)
    plain = _HEADER.size + len(question.name) + 4 + (11 if question.edns is not None else 0)
    plain += sum(_plain_length(record) for section in sections for record in section)
    fits = plain <= size
    compress = not fits or (not tcp and plain > _UNFRAGMENTED[family])
    message = Message(question, size if not fits else _TCP_SIZE, compress=compress)
    for section in sections:
        message.add_section(section)
    return message.finish(reply)


def _plain_length(record: RR) -> int:
    length = len(record.owner) + 10 + len(record.head) + len(record.tail)
    return length + sum(map(len, record.names)) if record.names else length


class Message:
    """Writes an answer. What does not fit into `size` bytes is dropped, and TC is set."""

    def __init__(self, question: Question, size: int, *, compress: bool) -> None:
        self._question = question
        self._size = size - (11 if question.edns is not None else 0)
        self._seen: dict[bytes, int] | None = {} if compress else None
        self._counts: list[int] = []
        self._cut = False
        self._out = bytearray(_HEADER.size)
        self._write_name(question.name)
        self._out += struct.pack("!HH", question.type, question.class_)

    def add_section(self, records: Iterable[RR]) -> None:
        out, count, full = self._out, 0, len(self._out) >= self._size
        for record in records:
            start = len(out)
            if not full:
                self._write_record(record)
            if full or len(out) > self._size:
                del out[start:]
                self._cut = True
                self._size = len(out)  # later, smaller records are not tried
                break
            count += 1
            full = len(out) == self._size
        self._counts.append(count)

    def finish(self, reply: Reply) -> bytes:
        question, out = self._question, self._out
        answers, authorities, extras = self._counts
        if question.edns is not None:
            ttl = (reply.rcode >> 4) << 24 | question.edns_flags
            size = 0 if reply.rcode == RCODES["BADVERS"] else question.edns
            out += b"\0" + _FIXED.pack(TYPES["OPT"], size, ttl, 0)
            extras += 1
        flags = _QR | (question.flags & (_RD | _CD)) | reply.rcode & 0xF
        flags |= (_AA if reply.authoritative else 0) | (_TC if reply.truncated or self._cut else 0)
        _HEADER.pack_into(out, 0, question.id, flags, 1, answers, authorities, extras)
        return bytes(out)

    def _write_record(self, record: RR) -> None:
        out = self._out
        self._write_name(record.owner)
        start = len(out)
        out += _FIXED.pack(record.type, _IN, record.ttl, len(record.head))
        out += record.head
        if record.names or record.tail:
            for name in record.names:
                self._write_name(name, point=record.type != TYPES["SRV"])
            out += record.tail
            struct.pack_into("!H", out, start + 8, len(out) - start - _FIXED.size)

    def _write_name(self, name: bytes, *, point: bool = True) -> None:
        """Write a name: its new labels, then a pointer to the rest if that was written before."""
        out, seen = self._out, self._seen
        if seen is None:
            out += name
            return
        base, at = len(out), 0
        while name[at]:
            rest = name[at:] if at else name
            found = seen.get(rest)
            if found is not None:
                if point:
                    out += name[:at] + struct.pack("!H", 0xC000 | found)
                    return
                break
            if base + at < _POINTABLE:
                seen[rest] = base + at
            at += 1 + name[at]
        out += name
