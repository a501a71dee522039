"""The body of a request, and whether it can be sent again.

Bytes can; so can files (`content=file`, `files=`) that can seek, which are rewound for each attempt, as httpx
rewinds them for redirects. A generator or another stream is sent once. For a broadcast it is read first.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

__all__ = ["CONSUMED", "ReadOnce", "body_of", "body_options", "with_body"]


class _Consumed:
    """What the error says if a stream was to be read a second time."""

    def __str__(self) -> str:
        return "the connection ended before the request was processed"


CONSUMED = _Consumed()


class ReadOnce:
    """The body of a request that cannot be sent again."""

    def __init__(self, stream: Any, core: Any) -> None:
        self._stream = stream
        self._core = core
        self.consumed: bool = False

    def _consume(self) -> None:
        if self.consumed:
            raise self._core.RemoteProtocolError(CONSUMED)
        self.consumed = True

    def __iter__(self) -> Iterator[bytes]:
        self._consume()
        iterator: Iterator[bytes] = iter(self._stream)
        return iterator

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._consume()
        iterator: AsyncIterator[bytes] = aiter(self._stream)
        return iterator


class _Rewound:
    """A stream over one file, which begins where the file stood."""

    def __init__(self, stream: Any, file: Any) -> None:
        self._stream = stream
        self._file = file
        self._start = file.tell()

    def __iter__(self) -> Iterator[bytes]:
        self._file.seek(self._start)
        iterator: Iterator[bytes] = iter(self._stream)
        return iterator

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._file.seek(self._start)
        iterator: AsyncIterator[bytes] = aiter(self._stream)
        return iterator


def body_of(stream: Any, api: Any, core: Any) -> tuple[Any, bool]:
    """Return the body to send for the `stream` of a request, and whether it can be sent again.

    `api` and `core` are the library of the request.
    """
    if isinstance(stream, api.ByteStream):
        return stream, True
    fields = getattr(stream, "fields", None)
    if fields is not None:  # multipart: httpx rewinds the files itself
        files = [getattr(field, "file", b"") for field in fields]
        if all(isinstance(file, str | bytes) or _can_seek(file) for file in files):
            return stream, True
    else:
        file = getattr(stream, "_stream", None)
        if hasattr(file, "read") and _can_seek(file):
            return _Rewound(stream, file), True
    return ReadOnce(stream, core), False


def _can_seek(file: Any) -> bool:
    try:
        return bool(file.seekable())
    except (AttributeError, ValueError):  # not a file, or closed
        return False


_BODY = ("content", "data", "files", "json")


def body_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a request's options that make its body."""
    return {name: options[name] for name in _BODY if options.get(name) is not None}


def with_body(options: Mapping[str, Any], request: Any, body: bytes) -> dict[str, Any]:
    """Return the options with `body` in their place, and its type: a stream can be read for one pod only."""
    headers = type(request.headers)(options.get("headers"))
    if kind := request.headers.get("content-type"):
        headers.setdefault("content-type", kind)
    return {
        **{name: options[name] for name in options if name not in _BODY},
        "content": body,
        "headers": headers,
    }
