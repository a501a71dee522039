"""Reading what an API server sends: events of a stream, whole bodies, and the Status of an error.

No socket, no clock.

Invariants:

* Memory is bounded: an event, a page and the body of an error have a greatest size, and hold so many values
  at most. That is looked at before JSON is read.
* Our credentials are taken out of every event and body before it is read.
* What cannot be read is a `MalformedError`, which quotes a little of it. Nothing else is raised.
* Each byte is looked at once, however small the chunks are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from peerdiscover._text import printable

from ._redaction import Redactor

MAX_EVENT = 8 << 20
"""Bytes of one event. etcd holds no object above some 1.5 MB."""
MAX_BODY = 32 << 20
"""Bytes of one page."""
MAX_VALUES = 1_000_000
"""Values in one event or page, since tiny ones take many times their bytes: some 60 each, and an object as
much as four. 20 slices of 1,000 endpoints have half as many."""
MAX_ERROR_BODY = 64 << 10
"""Bytes of an error's body that are read."""

_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, RecursionError)
_QUOTED = 100


class MalformedError(ValueError):
    """What the server sent is not what the API promises. The text is fit for users."""


class TooLargeError(MalformedError):
    """It is larger than anything that is accepted."""


@dataclass(frozen=True, slots=True)
class Event:
    kind: str
    """`ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK`, `ERROR`, or one that later servers may have."""
    item: Any
    """The object; of an `ERROR` the Status."""
    version: str = ""
    """The resourceVersion to resume from; "" if the event has none."""
    ends_initial_events: bool = False
    """It is the bookmark after which the set is complete."""


@dataclass(frozen=True, slots=True)
class Page:
    items: list[Any]
    version: str
    next_page: str
    """The token for the next page; "" after the last one."""


class EventReader:
    """Puts the events of one stream together, from chunks that are cut anywhere."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._buffer = bytearray()

    def events(self, chunk: bytes) -> Iterator[Event]:
        """The events that end in this chunk. `MalformedError` comes after those that could be read."""
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            line, self._buffer = bytes(self._buffer) + end, bytearray()
            if line.strip():
                yield _event(self._redactor.raw(line))
        self._buffer += rest
        if len(self._buffer) > MAX_EVENT:
            raise TooLargeError(f"an event of more than {MAX_EVENT >> 20} MB")


class Body:
    """Collects a whole body of at most `limit` bytes."""

    def __init__(self, limit: int, redactor: Redactor) -> None:
        self._limit = limit
        self._redactor = redactor
        self._buffer = bytearray()

    def add(self, chunk: bytes) -> None:
        """`TooLargeError` if there is more than the limit."""
        self._buffer += chunk
        if len(self._buffer) > self._limit:
            raise TooLargeError(f"a response of more than {self._limit >> 20} MB")

    def take(self) -> bytes:
        """All of it, of which nothing is kept here."""
        data, self._buffer = bytes(self._buffer), bytearray()
        return self._redactor.raw(data)


def _check_values(data: bytes, what: str) -> None:
    if data.count(b",") + data.count(b"[") + 4 * data.count(b"{") > MAX_VALUES:
        raise TooLargeError(f"{what} of more than {MAX_VALUES:,} values")


def _event(line: bytes) -> Event:
    _check_values(line, "an event")
    try:
        event = json.loads(line)
        kind, item = event["type"], event["object"]
        metadata = item.get("metadata") or {}
        version = metadata.get("resourceVersion") or ""
        annotations = metadata.get("annotations") or {}
    except _UNREADABLE:
        raise MalformedError(f"a malformed event: {line[:_QUOTED]!r}") from None
    return Event(
        kind,
        item,
        version if isinstance(version, str) else "",
        kind == "BOOKMARK"
        and isinstance(annotations, dict)
        and annotations.get("k8s.io/initial-events-end") == "true",
    )


def parse_page(body: bytes) -> Page:
    _check_values(body, "a response")
    try:
        page = json.loads(body)
        metadata, items = page["metadata"], page.get("items") or []
        version, next_page = str(metadata["resourceVersion"]), str(metadata.get("continue") or "")
        if not all(isinstance(item, dict) for item in items):
            raise TypeError
    except _UNREADABLE:
        raise MalformedError(f"a malformed list: {body[:_QUOTED]!r}") from None
    return Page(items, version, next_page)


def parse_status(body: bytes) -> object:
    """The Status in the body of an error; of a gateway's page its beginning, as a string."""
    try:
        status: object = json.loads(body)
    except (ValueError, RecursionError):
        return body[: 2 * _QUOTED].decode("utf-8", "replace")
    return status


def message_of(status: object) -> str:
    """What the server says, on one line."""
    text = status.get("message") if isinstance(status, dict) else status
    return printable(" ".join(str(text).split()), 1000) or "no reason was given"


def seconds_of(text: str | None) -> float:
    """`Retry-After`, if it is a number of seconds; else 0."""
    return float(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 7 else 0.0


def retry_after_in(status: Any) -> float:
    """`details.retryAfterSeconds` of a Status; else 0."""
    details = status.get("details") if isinstance(status, dict) else None
    given = details.get("retryAfterSeconds") if isinstance(details, dict) else None
    return 0.0 if given is None else seconds_of(str(given))
