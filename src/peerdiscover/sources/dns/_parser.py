"""A fast parser of ordinary DNS messages (RFC 1035, 2782, 3596, 6891).

A thousand records take dnspython 36 ms, during which an event loop stands still; here it is well under one.

Invariants:

* Only ordinary messages are read: a reply to one question, whole and well-formed. For anything else
  `parse_fast` returns None and the caller uses dnspython, so nothing broken or forged is judged here.
* Records of other classes and types, and the options of EDNS, are skipped unread: cookies and extended
  errors are common, and nothing of them is needed.
* The result is what dnspython would read, to the last character, unless it finds what is skipped here
  malformed. Tests hold that for real answers, for made-up ones, and for bytes that were changed at random.
* Nothing is read outside of the message. Names are read by `_wire_names`.
* A set of records has one TTL, the lowest; equal records count once (RFC 2181, 5).
"""

from __future__ import annotations

import struct
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Any, NamedTuple

from ._types import Srv
from ._wire_names import NameReader, UnsupportedError

A, NS, CNAME, SOA, AAAA, SRV, OPT = 1, 2, 5, 6, 28, 33, 41
IN = 1
NOERROR, NXDOMAIN = 0, 3

TYPES = frozenset({A, NS, CNAME, SOA, AAAA, SRV})
"""The types of record that are read."""

MAX_TTL = 0x7FFFFFFF
"""Above it a TTL counts as 0 (RFC 2181, 8)."""

_HEADER = struct.Struct("!HHIH")
_NUMBERS = struct.Struct("!HHH")
_ROW = struct.Struct("!12s4s")


class Records:
    """Records of one name and type, in the order they came."""

    __slots__ = ("data", "ttl")

    def __init__(self, ttl: int) -> None:
        self.ttl = ttl
        self.data: dict[Any, None] = {}
        """Of A and AAAA addresses, of SRV `Srv`s, of CNAME and NS names, of SOA the negative TTL."""


Section = dict[tuple[str, int], Records]
"""Records by name and type."""


class Message(NamedTuple):
    """The contents of a message, as far as they matter here."""

    code: int
    answer: Section
    authority: Section
    additional: Section


def parse_fast(wire: bytes) -> Message | None:
    """The contents of the message; None if it is not ordinary. It has at least twelve bytes."""
    _, flags, questions, answers, authorities, additionals = struct.unpack_from("!HHHHHH", wire)
    if questions != 1:
        return None
    try:
        return _MessageReader(wire).read(flags & 0xF, answers, authorities, additionals)
    except (UnsupportedError, IndexError, struct.error):
        return None


class _MessageReader:
    def __init__(self, wire: bytes) -> None:
        self._wire = wire
        self._at = 12
        self._names = NameReader(wire)
        self._has_opt = False
        self._extended_code = 0

    def read(self, code: int, answers: int, authorities: int, additionals: int) -> Message:
        self._at = self._names.part(self._at).end + 4  # the question: its name, type and class
        if self._at > len(self._wire):
            raise UnsupportedError
        answer, authority = self._section(answers), self._section(authorities)
        additional = self._section(additionals, additional=True)
        return Message(code | self._extended_code << 4, answer, authority, additional)

    def _section(self, count: int, *, additional: bool = False) -> Section:
        wire, size = self._wire, len(self._wire)
        section: Section = {}
        left = count
        while left:
            begins = self._at
            owner, behind = self._names.owner(begins)
            kind, of_class, ttl, length = _HEADER.unpack_from(wire, behind)
            start = behind + 10
            self._at = end = start + length
            if end > size:
                raise UnsupportedError
            left -= 1
            if kind == OPT:
                self._opt(owner, ttl, additional=additional)
                continue
            if of_class != IN or kind not in TYPES:
                continue
            if ttl > MAX_TTL:
                ttl = 0
            key = (owner, kind)
            records = section.get(key)
            if records is None:
                records = section[key] = Records(ttl)
            elif ttl < records.ttl:
                records.ttl = ttl
            if kind == A:
                if length != 4:
                    raise UnsupportedError
                records.data[_ipv4(wire[start:end])] = None
                if left and start - begins == 12:
                    left -= self._rows(wire[begins:start], left, records)
            elif kind in (CNAME, SOA):
                records.data = {self._data(kind, start, end): None}  # there is one; the last one counts
            else:
                records.data[self._data(kind, start, end)] = None
        return section

    def _rows(self, head: bytes, most: int, records: Records) -> int:
        """Read on while records differ only in their address. Returns how many there were."""
        at, step = self._at, _ROW.size
        whole = min(most, (len(self._wire) - at) // step)
        rows = 0
        for begins, address in _ROW.iter_unpack(self._wire[at : at + whole * step]):
            if begins != head:
                break
            records.data[_ipv4(address)] = None
            rows += 1
        self._at = at + rows * step
        return rows

    def _data(self, kind: int, start: int, end: int) -> str | Srv | int:
        wire = self._wire
        if kind == AAAA:
            if end - start != 16:
                raise UnsupportedError
            return _ipv6(wire[start:end])
        if kind == SRV:
            priority, weight, port = _NUMBERS.unpack_from(wire, start)
            return Srv(priority, weight, port, self._names.whole(start + 6, end))
        if kind in (CNAME, NS):
            return self._names.whole(start, end)
        at = self._names.part(self._names.part(start).end).end  # an SOA
        if at + 20 != end:
            raise UnsupportedError
        return int.from_bytes(wire[end - 4 : end])

    def _opt(self, owner: str, ttl: int, *, additional: bool) -> None:
        """EDNS: only the upper bits of the code matter (RFC 6891, 6.1.3)."""
        if self._has_opt or not additional or owner != ".":
            raise UnsupportedError
        self._has_opt = True
        self._extended_code = ttl >> 24


@lru_cache(maxsize=16384)
def _ipv4(address: bytes) -> str:
    return "{}.{}.{}.{}".format(*address)


@lru_cache(maxsize=16384)
def _ipv6(address: bytes) -> str:
    if not any(address[:10]):
        import dns.ipv6  # there are several ways to write such an address, which no pod has

        return str(dns.ipv6.inet_ntoa(address))
    return str(IPv6Address(address))
