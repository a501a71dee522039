"""A nameserver as a function from the bytes of a question to the bytes of an answer.

Invariants:

* `Nameserver.respond` does no I/O and never waits. `_transport` carries the bytes.
* It answers as CoreDNS does: A and AAAA are shuffled; SRV keeps the order of the endpoints but begins
  with another slice each time (CoreDNS iterates over a Go map of slices); sizes are those of `_messages`.
* Of the rules that make it misbehave, the last one that matches a question applies.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from peerdiscover._text import quoted
from peerdiscover.errors import ConfigurationError

from ._messages import (
    RCODES,
    RR,
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

Misbehaviour = Literal["servfail", "nxdomain", "nodata", "refused", "timeout", "truncated", "stale"]
Transport = Literal["udp", "tcp"]

_NAMES = {number: name for name, number in TYPES.items()}
_ADDRESSES = (TYPES["A"], TYPES["AAAA"])


@dataclass(frozen=True, slots=True)
class Query:
    """A question that reached the nameserver."""

    name: str
    """The absolute name as it was spelled, with a trailing dot."""
    type: str
    """`"A"`, `"SRV"`, …, or `"TYPE65"` for a type without a name here."""
    transport: Transport
    edns: int | None
    """The largest UDP answer that the client accepts, in bytes; None if it did not use EDNS."""
    source: tuple[str, int]
    """The client's address and port."""

    @classmethod
    def of(cls, data: bytes, transport: Transport, source: tuple[str, int]) -> Query | None:
        """Return the question in these bytes, or None if there is none."""
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

    `zone` can be set to another `Zone` at any time. With `shuffle=False` all records keep the zone's
    order.
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
        """Misbehave from now on, for all questions or only for these types or that transport.

        * `"servfail"`, `"refused"`, `"nxdomain"`: answer with that code.
        * `"nodata"`: the name exists, but has no such records.
        * `"timeout"`: do not answer.
        * `"truncated"`: set TC and send half of the records, over TCP too; addresses are in a random
          order, SRV is cut at the same place each time and has no addresses.
        * `"stale"`: keep giving the answers of this moment, with a TTL of 0, as a cache that serves
          stale answers does.
        * None: answer correctly.

        Calls add up, and the last one that matches a question applies; `answer(None)` ends them all.
        """
        if mode is not None and mode not in get_args(Misbehaviour):
            known = ", ".join(map(repr, get_args(Misbehaviour)))
            raise ConfigurationError(f"answer({quoted(mode)}): use one of {known}, or None")
        numbers = None if types is None else frozenset(_type_number(name) for name in types)
        rule = _Rule(mode, numbers, transport, replace(self.zone, ttl=0) if mode == "stale" else None)
        everything = numbers is None and transport is None
        self._rules = (() if everything else self._rules) + ((rule,) if mode or not everything else ())

    def respond(self, data: bytes, *, transport: Transport = "udp", family: int = 4) -> bytes | None:
        """Return the answer to a datagram (or a message over TCP, without its length); None: no answer."""
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
            case "servfail" | "refused" as code:
                return Reply(RCODES[code.upper()])
            case "nxdomain" | "nodata" as code:
                return zone.negative(question.name, RCODES["NXDOMAIN" if code == "nxdomain" else "NOERROR"])
            case "truncated":
                return _half(self._shuffled(zone, question))
            case _:
                return self._shuffled(zone, question)

    def _shuffled(self, zone: Zone, question: Question) -> Reply:
        """Shuffle as CoreDNS's `loadbalance` does: addresses in a random order, behind everything else."""
        turn = self._rng.randrange(1 << 16) if self._shuffle else 0
        reply = zone.reply(question.name, question.type, turn)
        if self._shuffle:
            reply.answer, reply.additional = map(self._mixed, (reply.answer, reply.additional))
        return reply

    def _mixed(self, records: Sequence[RR]) -> list[RR]:
        addresses = [record for record in records if record.type in _ADDRESSES]
        self._rng.shuffle(addresses)
        return [record for record in records if record.type not in _ADDRESSES] + addresses


def _half(reply: Reply) -> Reply:
    reply.answer = reply.answer[: max(1, len(reply.answer) // 2)]
    reply.additional = ()
    reply.truncated = True
    return reply


def _type_number(name: str) -> int:
    try:
        return TYPES[name.upper()]
    except KeyError:
        raise ConfigurationError(
            f"{quoted(name)}: not a record type; use one of {', '.join(TYPES)}"
        ) from None
