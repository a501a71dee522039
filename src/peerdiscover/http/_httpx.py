"""httpx and httpx2: the same interface under two names, and what is different.

Which one a request is of, it says itself: one transport serves both.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from peerdiscover.errors import NoPeersError

__all__ = ["HttpxFlavor", "libraries", "library_of", "named", "preferred"]

_CORES = {"httpx": "httpcore", "httpx2": "httpcore2"}


class HttpxFlavor:
    """One of the two, with what lies beneath it."""

    def __init__(self, name: str) -> None:
        self.name: str = name
        self.api: Any = import_module(name)
        self.core: Any = import_module(_CORES[name])
        self.no_peers: type[Exception] = _no_peers(self.api)
        self.Stream, self.AsyncStream = _streams(self)
        self._classes: dict[type[BaseException], type[Exception] | None] = {}

    def map_exception(self, error: BaseException) -> type[Exception] | None:
        """The class of `api` that stands for this error of `core`; None: it is none of `core`'s.

        Both name their errors alike.
        """
        kind = type(error)
        if kind not in self._classes:
            own = (c for c in kind.__mro__ if c.__module__.partition(".")[0] == self.core.__name__)
            found = (getattr(self.api, c.__name__, None) for c in own)
            self._classes[kind] = next((c for c in found if c is not None), None)
        return self._classes[kind]


@cache
def named(name: str) -> HttpxFlavor:
    """`httpx` or `httpx2`; `ImportError` where it is not installed."""
    return HttpxFlavor(name)


def library_of(request: object) -> HttpxFlavor:
    """The library that made this request."""
    name = type(request).__module__.partition(".")[0]
    if name not in _CORES:
        raise TypeError(f"{request!r}: a request of httpx or httpx2 is wanted")
    return named(name)


def libraries() -> list[HttpxFlavor]:
    """Those that are loaded; where none is, the one that is installed, httpx before httpx2."""
    return [named(name) for name in _CORES if name in sys.modules] or [preferred()]


def preferred() -> HttpxFlavor:
    """The one that is loaded, else the one that is installed; httpx before httpx2."""
    loaded = (name for name in _CORES if name in sys.modules)
    return named(next(loaded, None) or next((n for n in _CORES if find_spec(n) is not None), "httpx"))


def _no_peers(api: Any) -> type[Exception]:
    return type(
        f"{api.__name__.capitalize()}NoPeersError",
        (NoPeersError, api.ConnectError),
        {
            "__module__": "peerdiscover.http",
            "__doc__": f"There is nobody to send a request to; a `{api.__name__}.ConnectError` too.",
        },
    )


def _streams(library: HttpxFlavor) -> tuple[type[Any], type[Any]]:
    """The two kinds of body of an answer: both libraries want their own classes there."""

    sync_base: Any = library.api.SyncByteStream
    async_base: Any = library.api.AsyncByteStream

    class Stream(sync_base):  # type: ignore[misc]  # whichever library it is
        def __init__(
            self, body: Any, failed: Callable[[BaseException], Exception | None], over: Callable[[], None]
        ) -> None:
            self._body = body
            self._failed = failed
            self._over = over

        def __iter__(self) -> Iterator[bytes]:
            try:
                yield from self._body
            except Exception as error:
                if (translated := self._failed(error)) is None:
                    raise
                raise translated from error

        def close(self) -> None:
            try:
                self._body.close()
            finally:
                self._over()

    class AsyncStream(async_base):  # type: ignore[misc]  # as above
        def __init__(
            self,
            body: Any,
            failed: Callable[[BaseException], Exception | None],
            over: Callable[[], Awaitable[None]],
        ) -> None:
            self._body = body
            self._failed = failed
            self._over = over

        async def __aiter__(self) -> AsyncIterator[bytes]:
            try:
                async for part in self._body:
                    yield part
            except Exception as error:
                if (translated := self._failed(error)) is None:
                    raise
                raise translated from error

        async def aclose(self) -> None:
            try:
                await self._body.aclose()
            finally:
                await self._over()

    return Stream, AsyncStream
