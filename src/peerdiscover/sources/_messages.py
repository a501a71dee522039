"""DNS messages: a question is written, a reply is read (RFC 1035, 2782, 6891).

Rules of this room:

* Bytes in, a neutral value out. No socket, no clock. The only room that knows dnspython, and of it
  only the reading of messages (`dns.resolver` alone takes longer to import than all of ours may).
* A message is believed to answer a question when it is a reply, with our id, and repeats our
  question. Anything else is junk: somebody else's, forged, or broken. Whoever waits waits on.
* What cannot be read whole is junk too, unless it is marked as cut short (TC): then what can be
  read of it counts.
* A reply that refers to other servers is a failure: it comes from a server that should not have
  been asked, and proves nothing about the name.
"""

from __future__ import annotations

import struct

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from ._questions import MAX_HOPS, Kind, Question, Reply, Srv, Status

__all__ = ["EDNS_SIZE", "FORMERR_LIKE", "JunkError", "RefusedError", "read", "write"]

EDNS_SIZE = 1232
"""Bytes that fit through every path without fragments (DNS flag day 2020)."""

FORMERR_LIKE = frozenset({"FORMERR", "NOTIMP", "BADVERS"})
"""What a server says to a question with EDNS when it knows none (RFC 6891, 7)."""

_QR, _AA, _TC, _RA = 0x8000, 0x0400, 0x0200, 0x0080
_OPCODE = 0x7800
_OPT = struct.pack("!BHHIH", 0, 41, EDNS_SIZE, 0, 0)


class JunkError(ValueError):
    """A message that is no answer to our question. The text says why."""


class RefusedError(Exception):
    """The server answered that it does not, or cannot, answer. The text is its code: SERVFAIL, …"""


def write(question: Question, message_id: int, *, edns: bool = True) -> bytes:
    """The question as bytes, recursion desired."""
    head = struct.pack("!HHHHHH", message_id, 0x0100, 1, 0, 0, int(edns))
    name = dns.name.from_text(question.name).to_wire()
    assert name is not None
    return head + name + struct.pack("!HH", question.kind, 1) + (_OPT if edns else b"")


def read(wire: bytes, question: Question, message_id: int) -> Reply:
    """The reply in `wire`; `JunkError` where it is none to this question, `RefusedError` for SERVFAIL."""
    if len(wire) < 12:
        raise JunkError("too short for a DNS message")
    got_id, flags, questions, *_ = struct.unpack_from("!HHHHHH", wire)
    if got_id != message_id:
        raise JunkError("wrong id")
    if not flags & _QR:
        raise JunkError("a question, not a reply")
    if flags & _OPCODE:
        raise JunkError("wrong opcode")
    truncated = bool(flags & _TC)
    try:
        message = dns.message.from_wire(
            wire, ignore_trailing=True, continue_on_error=truncated, one_rr_per_rrset=False
        )
    except (dns.exception.DNSException, ValueError, LookupError, struct.error) as error:
        raise JunkError(f"malformed ({type(error).__name__})") from None
    code = message.rcode()
    if questions == 0 and code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        # Servers that cannot read a question do not repeat it.
        raise RefusedError(dns.rcode.to_text(code))
    asked = message.question
    if len(asked) != 1 or asked[0].name != dns.name.from_text(question.name):
        raise JunkError("another question's name")
    if int(asked[0].rdtype) != question.kind or asked[0].rdclass != dns.rdataclass.IN:
        raise JunkError("another question's type")
    if code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise RefusedError(dns.rcode.to_text(code))
    return _reply(message, question, flags)


def _reply(message: dns.message.Message, question: Question, flags: int) -> Reply:
    sets = {(rrset.name, int(rrset.rdtype)): rrset for rrset in reversed(message.answer) if _is_ours(rrset)}
    name, ttls = dns.name.from_text(question.name), list[int]()
    hops = 0
    while (name, question.kind) not in sets and (alias := sets.get((name, int(dns.rdatatype.CNAME)))):
        hops += 1
        if hops > MAX_HOPS:
            raise RefusedError(f"more than {MAX_HOPS} CNAMEs in a row")
        ttls.append(alias.ttl)
        (link,) = alias
        name = link.target
    canonical = _text(name)
    truncated = bool(flags & _TC)
    records = sets.get((name, question.kind))
    if records is None:
        return _negative(message, question, canonical, ttls, truncated=truncated, flags=flags)
    ttls.append(records.ttl)
    addresses: tuple[str, ...] = ()
    services: tuple[Srv, ...] = ()
    glue: dict[str, tuple[str, ...]] = {}
    if question.kind is Kind.SRV:
        services = tuple(Srv(r.priority, r.weight, r.port, _text(r.target)) for r in records)
        targets = {r.target for r in records}
        for rrset in (*message.additional, *message.answer):
            if _is_ours(rrset) and int(rrset.rdtype) in (Kind.A, Kind.AAAA) and rrset.name in targets:
                ttls.append(rrset.ttl)
                target = _text(rrset.name)
                glue[target] = (*glue.get(target, ()), *(r.address for r in rrset))
    else:
        addresses = tuple(r.address for r in records)
    return Reply(
        question, Status.ANSWER, addresses, services, glue, canonical, truncated=truncated, ttl=min(ttls)
    )


def _negative(
    message: dns.message.Message,
    question: Question,
    canonical: str,
    ttls: list[int],
    *,
    truncated: bool,
    flags: int,
) -> Reply:
    """A reply without the records that were asked for."""
    for rrset in message.authority:
        if _is_ours(rrset) and rrset.rdtype == dns.rdatatype.SOA:
            ttls = [*ttls, rrset.ttl, *(soa.minimum for soa in rrset)]  # RFC 2308, 5
            break
    else:
        if message.rcode() != dns.rcode.NXDOMAIN:
            if truncated:
                # Cut before the first record: nothing is said about the name.
                return Reply(question, Status.ANSWER, canonical=canonical, truncated=True, ttl=None)
            if canonical != question.name:
                return Reply(question, Status.NODATA, canonical=canonical, unfinished=True, ttl=min(ttls))
            refers = any(rrset.rdtype == dns.rdatatype.NS for rrset in message.authority)
            if refers and not flags & _AA:
                raise RefusedError("it refers to other servers")
        ttls = []
    status = Status.NXDOMAIN if message.rcode() == dns.rcode.NXDOMAIN else Status.NODATA
    return Reply(question, status, canonical=canonical, ttl=min(ttls, default=None))


def _is_ours(rrset: dns.rrset.RRset) -> bool:
    """Whether it is of the Internet's class: records of another one mean, and hold, something else."""
    return rrset.rdclass == dns.rdataclass.IN


def _text(name: dns.name.Name) -> str:
    return name.to_text().lower()
