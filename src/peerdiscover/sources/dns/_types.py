"""The words that the layers of a DNS lookup use among each other.

Rules of this room:

* The plan (`_lookup`) speaks in `Batch`es of `Question`s and is told `Reply`s. It knows no bytes.
* The exchange (`_exchange`) takes one question and gives one reply. It knows bytes, and no sockets.
* All names are absolute, in lower case, and end in a dot. Addresses are canonical text.
* Nothing here imports a DNS library: only `_messages` reads and writes what is on the wire.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from peerdiscover.sources._server import Server

__all__ = ["MAX_HOPS", "OPTIONAL_TIMEOUT", "Batch", "Question", "RecordType", "Reply", "ReplyStatus", "Srv"]

MAX_HOPS = 8
"""CNAMEs that are followed, within a message and from one to the next."""


OPTIONAL_TIMEOUT = 0.5
"""Seconds that a question may take that the answer can do without."""


class RecordType(enum.IntEnum):
    """The types of record that are asked for (RFC 1035, 3596, 2782)."""

    A = 1
    AAAA = 28
    SRV = 33


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
    """By which part of the whole lookup's time their replies must be there."""
    limit: float = float("inf")
    """Seconds that they may take at most."""
    bypass_cache: bool = False
    """Over TCP, beginning at another server where there are several: a second opinion."""
    optional: tuple[Question, ...] = ()
    """Asked along with them, for `OPTIONAL_TIMEOUT` seconds at most. Their replies come last."""


class Srv(NamedTuple):
    """One SRV record. Priority and weight are kept to be shown; CoreDNS's say nothing about load."""

    priority: int
    weight: int
    port: int
    target: str


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of one question. Build a failed one with `failed`."""

    question: Question
    status: ReplyStatus
    addresses: tuple[str, ...] = ()
    """A or AAAA records, in the order they came."""
    services: tuple[Srv, ...] = ()
    """SRV records, in the order they came."""
    glue: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Addresses of the services' targets, where the message had some."""
    canonical: str = ""
    """The name at the end of the CNAMEs; the name that was asked where there are none."""
    unfinished: bool = False
    """The CNAMEs lead out of the message: `canonical` has to be asked for."""
    truncated: bool = False
    """Cut short, and not to be had whole."""
    ttl: float | None = None
    """Seconds; None for a negative reply that does not say (no SOA record)."""
    error: str = ""
    """Why it failed: what each server did."""
    note: str = ""
    """What the user should know about the servers."""
    ignored: tuple[str, ...] = ()
    """What came meanwhile and was no answer to the question: one line a server, with the count."""
    server: Server | None = None
    """Who gave it."""
    asked: tuple[Server, ...] = ()
    """Everybody who was asked."""

    @classmethod
    def failed(cls, question: Question, error: str, asked: tuple[Server, ...] = ()) -> Reply:
        return cls(question, ReplyStatus.FAILED, canonical=question.name, error=error, asked=asked)

    @property
    def is_negative(self) -> bool:
        """The server says that there is nothing. That is an answer; `FAILED` is none."""
        return self.status in (ReplyStatus.NODATA, ReplyStatus.NXDOMAIN)
