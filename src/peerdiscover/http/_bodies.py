"""The body of a request, and whether it can be sent again.

Bytes can; so can files (`content=file`, `files=`) that can seek, which are rewound for each attempt, as httpx
rewinds them for redirects. A generator or another stream is sent once. For a broadcast it is read first.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

CONSUMED = "the connection ended before the request was processed"
"""The argument of the error that a stream raises the second time; known by being this very object."""


class _Body:
    """A stream to send, which begins as its class says."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def _begin(self) -> Any:
        raise NotImplementedError

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._begin())

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(self._begin())


class ReadOnce(_Body):
    """A stream that cannot be sent again."""

    def __init__(self, stream: Any, core: Any) -> None:
        super().__init__(stream)
        self._core = core
        self.consumed: bool = False

    def _begin(self) -> Any:
        if self.consumed:
            raise self._core.RemoteProtocolError(CONSUMED)
        self.consumed = True
        return self._stream


class _Rewound(_Body):
    """A stream over one file, which begins where the file stood."""

    def __init__(self, stream: Any, file: Any) -> None:
        super().__init__(stream)
        self._file = file
        self._start = file.tell()

    def _begin(self) -> Any:
        self._file.seek(self._start)
        return self._stream


def body_of(stream: Any, core: Any) -> tuple[Any, bool]:
    """Return what to send for a stream that is not bytes, and whether it can be sent again."""
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
    others = {name: options[name] for name in options if name not in _BODY}
    return {**others, "content": body, "headers": headers}
