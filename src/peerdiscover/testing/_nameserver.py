"""A nameserver as a function: the bytes of a question go in, the bytes of an answer come out.

Rules of this room:

* `Nameserver.respond` does no I/O and waits for nobody. What carries the bytes is `_loop`.
* It answers as CoreDNS does: A and AAAA shuffled, SRV in the order of the endpoints but from another
  slice on each time (a map of Go's gives the slices), sizes as in `_messages`.
* Of the rules that make it misbehave, the last one that fits a question counts.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, get_args

from peerdiscover.errors import ConfigurationError

from ._messages import (
    RCODES,
    TYPES,
    MalformedError,
    Question,
    Reply,
    labels_of,
    read_question,
    write_error,
    write_reply,
)
from ._zone import Zone

__all__ = ["Misbehaviour", "Nameserver", "Query", "Transport"]

Misbehaviour = Literal["servfail", "nxdomain", "nodata", "refused", "timeout", "truncated", "stale"]
Transport = Literal["udp", "tcp"]

_NAMES = {number: name for name, number in TYPES.items()}
_ADDRESSES = (TYPES["A"], TYPES["AAAA"])


@dataclass(frozen=True, slots=True)
class Query:
    """A question that reached the nameserver."""

    name: str
    """The absolute name, with the letters as they were asked and a trailing dot."""
    type: str
    """`"A"`, `"SRV"`, …; `"TYPE65"` for one without a name here."""
    transport: Transport
    edns: int | None
    """The size of UDP answers that the client takes; None: it did not use EDNS."""
    source: tuple[str, int]
    """The client's address and port."""

    @classmethod
    def of(cls, data: bytes, transport: Transport, source: tuple[str, int]) -> Query | None:
        """The question in these bytes, or None where there is none."""
        try:
            question = read_question(data)
        except MalformedError:
            return None
        name = ".".join(labels_of(question.name)) + "."
        kind = _NAMES.get(question.type, f"TYPE{question.type}")
        return cls(name, kind, transport, question.edns, source)


@dataclass(frozen=True, slots=True)
class _Rule:
    mode: Misbehaviour | None
    types: frozenset[int] | None
    transport: Transport | None
    frozen: Zone | None

    def fits(self, kind: int, transport: Transport) -> bool:
        return (self.types is None or kind in self.types) and self.transport in (None, transport)


class Nameserver:
    """Answers for one zone.

    `zone` can be set to another `Zone` at any time. `shuffle=False` leaves all records in
    the zone's order, the same each time.
    """

    def __init__(self, zone: Zone, *, shuffle: bool = True, rng: random.Random | None = None) -> None:
        self.zone = zone
        self._shuffle = shuffle
        self._rng = rng or random.Random()
        self._rules: tuple[_Rule, ...] = ()

    def answer(
        self,
        mode: Misbehaviour | None,
        *,
        types: Iterable[str] | None = None,
        transport: Transport | None = None,
    ) -> None:
        """From now on misbehave, for all questions or those of these types or that transport.

        * `"servfail"`, `"refused"`, `"nxdomain"`: that code.
        * `"nodata"`: the name is there, without such records.
        * `"timeout"`: silence.
        * `"truncated"`: TC set and half of the records, over TCP too; addresses in a random order, SRV
          cut at the same place each time and without addresses.
        * `"stale"`: the answers of this moment whatever happens, with a TTL of 0, as a cache that serves
          stale answers.
        * None: what is true.

        Calls add up, and the last one that fits a question counts; `answer(None)` ends them all.
        """
        if mode is not None and mode not in get_args(Misbehaviour):
            known = ", ".join(map(repr, get_args(Misbehaviour)))
            raise ConfigurationError(f"answer({mode!r}): use one of {known}, or None")
        numbers = None if types is None else frozenset(_type_number(name) for name in types)
        rule = _Rule(mode, numbers, transport, replace(self.zone, ttl=0) if mode == "stale" else None)
        everything = numbers is None and transport is None
        self._rules = (() if everything else self._rules) + ((rule,) if mode or not everything else ())

    def respond(self, data: bytes, *, transport: Transport = "udp", family: int = 4) -> bytes | None:
        """The answer to a datagram (or to a message over TCP, without its length); None: silence."""
        try:
            question = read_question(data)
        except MalformedError as error:
            return write_error(error.header, error.rcode) if error.header else None
        reply = self._reply(question, transport)
        if reply is None:
            return None
        return write_reply(question, reply, tcp=transport == "tcp", family=family)

    def _reply(self, question: Question, transport: Transport) -> Reply | None:
        if question.class_ != 1:
            return Reply(RCODES["REFUSED"])
        if question.edns_version:
            return Reply(RCODES["BADVERS"])
        fitting = (rule for rule in reversed(self._rules) if rule.fits(question.type, transport))
        rule = next(fitting, None)
        zone = rule.frozen if rule and rule.frozen else self.zone
        match rule.mode if rule else None:
            case "timeout":
                return None
            case "servfail":
                return Reply(RCODES["SERVFAIL"])
            case "refused":
                return Reply(RCODES["REFUSED"])
            case "nxdomain":
                return zone.negative(question.name, RCODES["NXDOMAIN"])
            case "nodata":
                return zone.negative(question.name, RCODES["NOERROR"])
            case "truncated":
                return _half(self._shuffled(zone, question))
            case _:
                return self._shuffled(zone, question)

    def _shuffled(self, zone: Zone, question: Question) -> Reply:
        """CoreDNS's `loadbalance`: addresses in a random order, behind everything else."""
        turn = self._rng.randrange(1 << 16) if self._shuffle else 0
        reply = zone.reply(question.name, question.type, turn)
        if not self._shuffle or reply.rcode:
            return reply
        for section in ("answer", "additional"):
            records = getattr(reply, section)
            if len(records) > 1:
                addresses = [record for record in records if record.type in _ADDRESSES]
                if addresses:
                    self._rng.shuffle(addresses)
                    rest = [record for record in records if record.type not in _ADDRESSES]
                    setattr(reply, section, rest + addresses)
        return reply


def _half(reply: Reply) -> Reply:
    reply.answer = reply.answer[: max(1, len(reply.answer) // 2)]
    reply.additional = ()
    reply.truncated = True
    return reply


def _type_number(name: str) -> int:
    try:
        return TYPES[name.upper()]
    except KeyError:
        raise ConfigurationError(f"{name!r}: no type of record; use one of {', '.join(TYPES)}") from None
