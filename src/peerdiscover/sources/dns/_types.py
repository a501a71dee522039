"""The types that the layers of a DNS lookup exchange.

Invariants:

* The plan (`_lookup`) yields `Batch`es of `Question`s and is sent `Reply`s. It knows no bytes.
* The exchange (`_exchange`) takes one question and gives one reply. It knows bytes, but no sockets.
* All names are absolute, in lower case, and end in a dot. Addresses are in canonical form.
* Nothing here imports a DNS library: only `_messages` reads and writes the wire format.
"""

from __future__ import annotations

import enum
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from peerdiscover.answers import Answer
from peerdiscover.sources._server import Server

MAX_HOPS = 8
"""CNAMEs that are followed, within a message and from one message to the next."""

OPTIONAL_TIMEOUT = 0.5
"""Seconds for a question that the answer can do without."""


class RecordType(enum.IntEnum):
    """The types of record that are asked for (RFC 1035, 3596, 2782)."""

    A = 1
    AAAA = 28
    SRV = 33


ADDRESS_TYPES = {4: RecordType.A, 6: RecordType.AAAA}
"""Which type has the addresses of a family."""


class ReplyStatus(enum.Enum):
    """What a reply says."""

    ANSWER = "answer"
    NODATA = "no such records"
    NXDOMAIN = "no such name"
    FAILED = "failed"


class Question(NamedTuple):
    """One question: an absolute name, and the type of its records."""

    name: str
    kind: RecordType


@dataclass(frozen=True, slots=True)
class Batch:
    """Questions that are asked at the same time."""

    questions: tuple[Question, ...]
    share: float = 1.0
    """The replies must be there by this part of the lookup's time."""
    limit: float = float("inf")
    """Seconds that they may take at most."""
    bypass_cache: bool = False
    """Over TCP, beginning at another server if there are several: a second opinion."""
    optional: tuple[Question, ...] = ()
    """Asked along with them, for `OPTIONAL_TIMEOUT` seconds at most. Their replies come last."""
    time_shares: Mapping[Question, float] = field(default_factory=dict)
    """The part of the batch's time for questions that were not answered in earlier lookups."""


Plan = Generator[Batch, "list[Reply]", Answer]
"""A lookup: it yields batches of questions, is sent the replies, and returns the answer."""


class Srv(NamedTuple):
    """One SRV record. CoreDNS's weights say nothing about load, so weights are only shown."""

    priority: int
    weight: int
    port: int
    target: str


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply to one question. Build a failed one with `failed`."""

    question: Question
    status: ReplyStatus
    addresses: tuple[str, ...] = ()
    """A or AAAA records, in the order they came."""
    services: tuple[Srv, ...] = ()
    """SRV records, in the order they came."""
    glue: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Addresses of the SRV targets, if the message had any."""
    canonical: str = ""
    """The name at the end of the CNAMEs; without any, the name that was asked."""
    unfinished: bool = False
    """The CNAMEs' end is not in the message: `canonical` has to be asked for."""
    truncated: bool = False
    """It is truncated, and the whole could not be fetched."""
    ttl: float | None = None
    """Seconds; None for a negative reply without SOA record, which does not say."""
    error: str = ""
    """Why it failed: what each server did."""
    note: str = ""
    """What the user should know about the servers."""
    ignored: tuple[str, ...] = ()
    """What arrived meanwhile and was no answer: one line for each server, with the count."""
    server: Server | None = None
    """The server that sent it."""
    asked: tuple[Server, ...] = ()
    """All servers that were asked."""

    @classmethod
    def failed(cls, question: Question, error: str, asked: tuple[Server, ...] = ()) -> Reply:
        return cls(question, ReplyStatus.FAILED, canonical=question.name, error=error, asked=asked)

    @property
    def is_negative(self) -> bool:
        """Whether the server says that there are no records. That is an answer; `FAILED` is none."""
        return self.status in (ReplyStatus.NODATA, ReplyStatus.NXDOMAIN)
