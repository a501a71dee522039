"""Names in DNS messages, compressed or not (RFC 1035, 4.1.4 and 5.1).

Invariants:

* Nothing is read outside of the message, and a compressed name only ever points backwards, at most
  `MAX_POINTERS` times.
* A name is a string in lower case, escaped where it needs it, so that equal names are equal strings.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

MAX_POINTERS = 16
"""More than any server needs: names have few labels, and each pointer leads to part of another name."""

_PLAIN_LABEL = re.compile(rb"[-a-z0-9_*/+=:!#%&',<>?\[\]^`{|}~]+")


class UnsupportedError(Exception):
    """The message is not ordinary."""


class _Part(NamedTuple):
    """A name that begins somewhere in the message."""

    name: str
    """Each label, followed by a dot."""
    length: int
    """Bytes that it takes uncompressed."""
    end: int
    """Where the message goes on behind it."""
    pointers: int
    """How many pointers it contains."""


class NameReader:
    """Reads the names of one message, each part of a name once."""

    def __init__(self, wire: bytes) -> None:
        self._wire = wire
        self._parts: dict[int, _Part] = {}

    def owner(self, at: int) -> tuple[str, int]:
        """The name at `at`, and where the message goes on behind it. Most names are one pointer."""
        wire = self._wire
        if wire[at] >= 192:
            part = self._parts.get((wire[at] & 0x3F) << 8 | wire[at + 1])
            if part is not None and part.end <= at and part.pointers < MAX_POINTERS:
                return part.name or ".", at + 2
        part = self.part(at)
        return part.name or ".", part.end

    def whole(self, start: int, end: int) -> str:
        """The name that takes exactly the bytes from `start` to `end`."""
        text = _whole_name(self._wire[start:end])
        if text is not None:
            return text
        part = self.part(start)
        if part.end != end:
            raise UnsupportedError
        return part.name or "."

    def part(self, start: int, pointers: int = 0) -> _Part:
        """The name at `start`, reached by `pointers` pointers. It can only point to what ends before it."""
        known = self._parts.get(start)
        if known is not None:
            return known
        wire = self._wire
        at = start
        while 0 < (length := wire[at]) < 64:
            at += 1 + length
        taken = at - start
        text = _labels(wire[start:at])
        if length == 0:
            part = _Part(text, taken + 1, at + 1, 0)
        elif length >= 192:
            target = (length & 0x3F) << 8 | wire[at + 1]
            if not 12 <= target < start or pointers >= MAX_POINTERS:
                raise UnsupportedError
            rest = self.part(target, pointers + 1)
            if rest.end > start or rest.pointers >= MAX_POINTERS:
                raise UnsupportedError
            part = _Part(text + rest.name, taken + rest.length, at + 2, rest.pointers + 1)
        else:
            raise UnsupportedError
        if part.length > 255 or part.end > len(wire):
            raise UnsupportedError
        self._parts[start] = part
        return part


@lru_cache(maxsize=16384)
def _whole_name(wire: bytes) -> str | None:
    """The name in these bytes if it has no pointer, else None. Cached: the same ones keep coming."""
    at = 0
    while at < len(wire) and 0 < (length := wire[at]) < 64:
        at += 1 + length
    if at != len(wire) - 1 or wire[at] != 0 or len(wire) > 255:
        return None
    return _labels(wire[:at]) or "."


@lru_cache(maxsize=16384)
def _labels(wire: bytes) -> str:
    """Labels, each with its length before it, as a string."""
    text, at = "", 0
    while at < len(wire):
        behind = at + 1 + wire[at]
        text += _label(wire[at + 1 : behind]) + "."
        at = behind
    return text


def _label(label: bytes) -> str:
    lower = label.lower()
    if _PLAIN_LABEL.fullmatch(lower):
        return lower.decode("ascii")
    return "".join(map(_escaped, lower))


def _escaped(byte: int) -> str:
    character = chr(byte)
    if character in '"().;\\@$':
        return "\\" + character
    return character if 0x20 < byte < 0x7F else f"\\{byte:03d}"
