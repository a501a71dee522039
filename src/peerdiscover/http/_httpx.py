"""httpx and httpx2: the same interface under two names, and what differs.

A request says by its class which of the two made it: one transport serves either.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from peerdiscover.errors import ConfigurationError, NoPeersError

__all__ = ["HttpxFlavor", "libraries", "library_of", "named", "preferred"]

_CORES = {"httpx": "httpcore", "httpx2": "httpcore2"}


class HttpxFlavor:
    """One of the two, with the library beneath it.

    `api` is httpx or httpx2, `core` httpcore or httpcore2. `Stream` and `AsyncStream` are the classes of
    response bodies, `no_peers` is the error for having no pod, `wrong_host` that for a URL of another host.
    """

    def __init__(self, name: str) -> None:
        self.name: str = name
        self.api: Any = import_module(name)
        self.core: Any = import_module(_CORES[name])
        self.no_peers: type[Exception] = _no_peers(self.api)
        self.wrong_host: type[Exception] = _wrong_host(self.api)
        self.Stream, self.AsyncStream = _streams(self)
        self._classes: dict[type[BaseException], type[Exception] | None] = {}

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
    """Return those that are loaded; if none is, the one that is installed, httpx before httpx2."""
    return [named(name) for name in _CORES if sys.modules.get(name)] or [preferred()]


def preferred() -> HttpxFlavor:
    """Return the one that is loaded, else the one that is installed; httpx before httpx2."""
    loaded = (name for name in _CORES if sys.modules.get(name))
    return named(next(loaded, None) or next((n for n in _CORES if find_spec(n) is not None), "httpx"))


def _no_peers(api: Any) -> type[Exception]:
    return type(
        f"{api.__name__.capitalize()}NoPeersError",
        (NoPeersError, api.ConnectError),
        {
            "__module__": "peerdiscover.http",
            "__doc__": f"There is no pod to send a request to; also a `{api.__name__}.ConnectError`.",
        },
    )


def _wrong_host(api: Any) -> type[Exception]:
    return type(
        f"{api.__name__.capitalize()}WrongHostError",
        (ConfigurationError, api.RequestError),
        {
            "__module__": "peerdiscover.http",
            "__doc__": f"A URL, or a redirect, leads to another host; also a `{api.__name__}.RequestError`.",
        },
    )


def _streams(library: HttpxFlavor) -> tuple[type[Any], type[Any]]:
    """Return the two classes of response bodies: both libraries expect their own classes there."""

    sync_base: Any = library.api.SyncByteStream
    async_base: Any = library.api.AsyncByteStream

    class Stream(sync_base):  # type: ignore[misc]  # whichever library it is
        def __init__(
            self,
            body: Any,
            map_error: Callable[[BaseException], Exception | None],
            on_close: Callable[[], None],
        ) -> None:
            self._body = body
            self._map_error = map_error
            self._on_close = on_close

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

    class AsyncStream(async_base):  # type: ignore[misc]  # as above
        def __init__(
            self,
            body: Any,
            map_error: Callable[[BaseException], Exception | None],
            on_close: Callable[[], Awaitable[None]],
        ) -> None:
            self._body = body
            self._map_error = map_error
            self._on_close = on_close

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

    return Stream, AsyncStream
