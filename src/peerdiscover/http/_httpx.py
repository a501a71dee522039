"""httpx and httpx2: the same interface under two names, and what differs.

A request says by its class which of the two made it: one transport serves either.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from peerdiscover.errors import ConfigurationError, NoPeersError

_CORES = {"httpx": "httpcore", "httpx2": "httpcore2"}


class HttpxFlavor:
    """One of the two (`api`), with the library beneath it (`core`), and classes of ours over its own.

    `Stream` and `AsyncStream` are the bodies of responses. `no_peers` is the error for having no pod,
    `wrong_host` that for a URL of another host.
    """

    def __init__(self, name: str) -> None:
        self.api: Any = import_module(name)
        self.core: Any = import_module(_CORES[name])
        self.Stream: type[Any] = type("Stream", (_Stream, self.api.SyncByteStream), {})
        self.AsyncStream: type[Any] = type("AsyncStream", (_AsyncStream, self.api.AsyncByteStream), {})
        self.no_peers = self._error(
            "NoPeersError", NoPeersError, "ConnectError", "There is no pod to send a request to"
        )
        self.wrong_host = self._error(
            "WrongHostError",
            ConfigurationError,
            "RequestError",
            "A URL, or a redirect, leads to another host",
        )
        self._classes: dict[type[BaseException], type[Exception] | None] = {}

    def _error(self, name: str, ours: type[Exception], theirs: str, meaning: str) -> type[Exception]:
        doc = f"{meaning}; also a `{self.api.__name__}.{theirs}`."
        bases = (ours, getattr(self.api, theirs))
        name = self.api.__name__.capitalize() + name
        return type(name, bases, {"__module__": "peerdiscover.http", "__doc__": doc})

    def map_exception(self, error: BaseException) -> type[Exception] | None:
        """Return the class of `api` for this error of `core`; None if it is not one of `core`'s.

        Both name their errors alike.
        """
        kind = type(error)
        if kind not in self._classes:
            of_core = (c for c in kind.__mro__ if c.__module__.partition(".")[0] == self.core.__name__)
            found = (getattr(self.api, c.__name__, None) for c in of_core)
            self._classes[kind] = next((c for c in found if c is not None), None)
        return self._classes[kind]


@cache
def named(name: str) -> HttpxFlavor:
    """Return the flavor `httpx` or `httpx2`; `ImportError` if it is not installed."""
    return HttpxFlavor(name)


def library_of(request: object) -> HttpxFlavor:
    """Return the library that made this request."""
    name = type(request).__module__.partition(".")[0]
    if name not in _CORES:
        raise TypeError(f"{request!r}: expected a request of httpx or httpx2")
    return named(name)


def libraries() -> list[HttpxFlavor]:
    """Return those that are loaded; if none is, the one that is installed. httpx comes before httpx2."""
    loaded = [name for name in _CORES if sys.modules.get(name)]
    if not loaded:
        loaded = [next((name for name in _CORES if find_spec(name)), "httpx")]
    return [named(name) for name in loaded]


class _Body:
    """The body of a response, whose errors are those of the client's library."""

    def __init__(
        self, body: Any, map_error: Callable[[BaseException], Exception | None], on_close: Callable[[], Any]
    ) -> None:
        self._body = body
        self._map_error = map_error
        self._on_close = on_close


class _Stream(_Body):
    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._body
        except Exception as error:
            if (mapped := self._map_error(error)) is None:
                raise
            raise mapped from error

    def close(self) -> None:
        try:
            self._body.close()
        finally:
            self._on_close()


class _AsyncStream(_Body):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._body:
                yield part
        except Exception as error:
            if (mapped := self._map_error(error)) is None:
                raise
            raise mapped from error

    async def aclose(self) -> None:
        try:
            await self._body.aclose()
        finally:
            await self._on_close()
