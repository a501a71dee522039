"""DNS messages: writes questions and reads replies (RFC 1035, 2782, 6891).

Invariants:

* Bytes in, plain values out. No socket, no clock. Ordinary messages are handled here and in `_parser`;
  dnspython reads the others, and is loaded only then. It takes a thousand times longer for what was made to
  be slow, so it gets no message before id and question are checked, and none above `MAX_SLOW_SIZE` bytes or
  `MAX_SLOW_RECORDS` records.
* A message answers a question if it is a reply, has our id, and repeats our question. Anything else
  is a mismatch: meant for another program, forged, or broken. The wait for the answer goes on.
* What cannot be read whole is a mismatch too, unless it is marked as truncated (TC): then what can be
  read of it counts.
* A referral to other servers is a failure: it comes from a server that should not have been asked,
  and proves nothing about the name.
"""

from __future__ import annotations

import re
import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ._parser import CNAME, IN, NOERROR, NS, NXDOMAIN, SOA, TYPES, Message, Records, Section, parse_fast
from ._types import MAX_HOPS, Question, RecordType, Reply, ReplyStatus, Srv

if TYPE_CHECKING:
    import dns.name
    import dns.rrset

EDNS_SIZE = 1232
"""Bytes that fit through every path without fragments (DNS flag day 2020)."""

MAX_SLOW_SIZE = 4096
MAX_SLOW_RECORDS = 100

FORMERR_LIKE = frozenset({"FORMERR", "NOTIMP", "BADVERS"})
"""How a server without EDNS answers a question with EDNS (RFC 6891, 7)."""

_QR, _AA, _TC, _RA = 0x8000, 0x0400, 0x0200, 0x0080
_OPCODE = 0x7800
_OPT = struct.pack("!BHHIH", 0, 41, EDNS_SIZE, 0, 0)
_PLAIN_NAME = re.compile(r"([-_a-z0-9]{1,63}\.)+", re.ASCII | re.IGNORECASE)


class MismatchedReply(ValueError):
    """A message that does not answer our question. Its string says why."""


class RcodeError(Exception):
    """The server refused or failed to answer. The string is its code, such as SERVFAIL."""


def write(question: Question, message_id: int, *, edns: bool = True) -> bytes:
    """The question in wire format, recursion desired."""
    head = struct.pack("!HHHHHH", message_id, 0x0100, 1, 0, 0, int(edns))
    return head + _name(question.name) + struct.pack("!HH", question.kind, 1) + (_OPT if edns else b"")


@lru_cache(maxsize=1024)
def _name(text: str) -> bytes:
    if _PLAIN_NAME.fullmatch(text) and len(text) < 255:
        return b"".join(bytes((len(label),)) + label for label in text.encode("ascii").split(b"."))
    import dns.name

    name = dns.name.from_text(text).to_wire()
    assert name is not None
    return name


def read(wire: bytes, question: Question, message_id: int) -> Reply:
    """The reply in `wire`. Raises `MismatchedReply` if it does not answer, `RcodeError` for SERVFAIL."""
    if len(wire) < 12:
        raise MismatchedReply("too short for a DNS message")
    got_id, flags, questions, *records = struct.unpack_from("!HHHHHH", wire)
    if got_id != message_id:
        raise MismatchedReply("wrong id")
    if not flags & _QR:
        raise MismatchedReply("a question, not a reply")
    if flags & _OPCODE:
        raise MismatchedReply("wrong opcode")
    if questions:
        _check_question(wire, questions, question)
    message = parse_fast(wire)
    if message is None:
        if len(wire) > MAX_SLOW_SIZE or sum(records) > MAX_SLOW_RECORDS:
            raise MismatchedReply("malformed, and too long for a second look")
        message = _by_dnspython(wire, truncated=bool(flags & _TC))
    if not questions and message.code in (NOERROR, NXDOMAIN):  # a server that cannot read one repeats none
        raise MismatchedReply("another question's name")
    if message.code not in (NOERROR, NXDOMAIN):
        raise RcodeError(_rcode_name(message.code))
    return _reply(message, question, flags)


def _check_question(wire: bytes, count: int, question: Question) -> None:
    """Whether the message repeats the question. No server compresses its name: nothing stands before it."""
    name = _name(question.name)
    end = 12 + len(name)
    if len(wire) < end + 4 and name.lower().startswith(wire[12:end].lower()):
        raise MismatchedReply("malformed (it ends within the question)")
    if count != 1 or wire[12:end].lower() != name.lower():
        raise MismatchedReply("another question's name")
    if struct.unpack_from("!HH", wire, end) != (question.kind, IN):
        raise MismatchedReply("another question's type")


def _by_dnspython(wire: bytes, *, truncated: bool) -> Message:
    """Read a message that `_parser` declined. `truncated`: what can be read of it counts."""
    import dns.exception
    import dns.message

    try:
        message = dns.message.from_wire(
            wire, ignore_trailing=True, continue_on_error=truncated, one_rr_per_rrset=False
        )
    except (dns.exception.DNSException, ValueError, LookupError, struct.error) as error:
        raise MismatchedReply(f"malformed ({type(error).__name__})") from None
    return Message(int(message.rcode()), *map(_section, message.sections[1:4]))


def _section(section: list[dns.rrset.RRset]) -> Section:
    """The records of class IN: the data of other classes means something else."""
    found: Section = {}
    for rrset in section:
        kind = int(rrset.rdtype)
        if rrset.rdclass == IN and kind in TYPES:
            records = found[_to_name(rrset.name), kind] = Records(rrset.ttl)
            records.data = dict.fromkeys(_data(kind, rdata) for rdata in rrset)
    return found


def _data(kind: int, rdata: Any) -> str | Srv | int:
    if kind in (RecordType.A, RecordType.AAAA):
        return str(rdata.address)
    if kind == RecordType.SRV:
        return Srv(rdata.priority, rdata.weight, rdata.port, _to_name(rdata.target))
    if kind in (CNAME, NS):
        return _to_name(rdata.target)
    return int(rdata.minimum)  # of an SOA


def _to_name(name: dns.name.Name) -> str:
    return name.to_text().lower()


def _rcode_name(code: int) -> str:
    import dns.rcode

    return dns.rcode.to_text(dns.rcode.Rcode.make(code))


def _reply(message: Message, question: Question, flags: int) -> Reply:
    name, ttls = question.name.lower(), list[int]()
    while (name, question.kind) not in message.answer and (alias := message.answer.get((name, CNAME))):
        if len(ttls) == MAX_HOPS:
            raise RcodeError(f"more than {MAX_HOPS} CNAMEs in a row")
        ttls.append(alias.ttl)
        (name,) = alias.data
    records = message.answer.get((name, question.kind))
    if records is None:
        return _negative(message, question, name, ttls, flags)
    ttls.append(records.ttl)
    glue: dict[str, tuple[str, ...]] = {}
    if question.kind is RecordType.SRV:
        targets = {service.target for service in records.data}
        for section in (message.additional, message.answer):
            for (owner, kind), found in section.items():
                if kind in (RecordType.A, RecordType.AAAA) and owner in targets:
                    ttls.append(found.ttl)
                    glue[owner] = (*glue.get(owner, ()), *found.data)
    data, is_srv = tuple(records.data), question.kind is RecordType.SRV
    addresses, services = ((), data) if is_srv else (data, ())
    truncated, ttl = bool(flags & _TC), min(ttls)
    return Reply(question, ReplyStatus.ANSWER, addresses, services, glue, name, truncated=truncated, ttl=ttl)


def _negative(message: Message, question: Question, canonical: str, ttls: list[int], flags: int) -> Reply:
    status = ReplyStatus.NXDOMAIN if message.code == NXDOMAIN else ReplyStatus.NODATA
    soa = next((records for (_, kind), records in message.authority.items() if kind == SOA), None)
    if soa is not None:
        ttl = min(*ttls, soa.ttl, *soa.data)  # RFC 2308, 5
        return Reply(question, status, canonical=canonical, ttl=ttl)
    if status is ReplyStatus.NODATA:
        if flags & _TC:  # truncated before the first record: it says nothing about the name
            return Reply(question, ReplyStatus.ANSWER, canonical=canonical, truncated=True)
        if canonical != question.name:
            return Reply(question, status, canonical=canonical, unfinished=True, ttl=min(ttls))
        if not flags & _AA and any(kind == NS for _, kind in message.authority):
            raise RcodeError("it refers to other servers")
    return Reply(question, status, canonical=canonical)
