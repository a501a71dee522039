"""FunctionSource: a user's own function as a source, and what a `source=` argument may be.

Invariants:

* What the function returns is the whole list. None or an empty list means that there are no pods.
* What it raises passes through to the caller, which turns it into a failed answer.
* A single string is refused: iterating over it would give its characters.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from peerdiscover._text import quoted
from peerdiscover.answers import Answer, Endpoint, LookupRequest, Source
from peerdiscover.errors import ConfigurationError
from peerdiscover.peers import Peer

from .static import endpoint

__all__ = ["AddressLike", "FunctionSource", "SourceLike", "as_source"]

AddressLike = str | Peer | Endpoint
"""One pod, as a function or a fixed list gives it: `"10.0.0.1:8080"`, a `Peer`, an `Endpoint`."""

_Addresses = Iterable[AddressLike] | None

SourceLike = Source | Callable[[], _Addresses] | Callable[[], Awaitable[_Addresses]]
"""What a `source=` argument may be: a source, or a function (a coroutine function too) without arguments."""


class FunctionSource:
    """Calls `function()`, which returns addresses: `"ip:port"` strings, `Peer`s or `Endpoint`s.

    A coroutine function is awaited: then `lookup` returns an awaitable.
    """

    kind = "callable"

    def __init__(self, function: Callable[[], _Addresses] | Callable[[], Awaitable[_Addresses]]) -> None:
        if not callable(function):
            raise ConfigurationError(f"{quoted(function)}: expected a callable without arguments")
        self._function: Callable[[], Any] = function
        if inspect.iscoroutinefunction(function):
            # Its presence says that no thread is needed to call this source.
            self.alookup: Callable[[LookupRequest], Awaitable[Answer]] = self._alookup

    def __repr__(self) -> str:
        return f"FunctionSource({self._function!r})"

    def lookup(self, request: LookupRequest) -> Answer | Awaitable[Answer]:  # noqa: ARG002 - the protocol's
        """What the function returns. Raises what it raises, and `ConfigurationError` for a wrong address."""
        returned = self._function()
        if inspect.isawaitable(returned):
            return self._awaited(returned)
        return self._answer(returned)

    async def _alookup(self, request: LookupRequest) -> Answer:  # noqa: ARG002 - as above
        return self._answer(await self._function())

    async def _awaited(self, returned: Awaitable[object]) -> Answer:
        return self._answer(await returned)

    def _answer(self, returned: object) -> Answer:
        if returned is None:
            return Answer.of((), kind=self.kind)
        if isinstance(returned, str | bytes):
            raise ConfigurationError(
                f"{quoted(self._function)} returned {quoted(returned)}: expected a list, [{quoted(returned)}]"
            )
        if isinstance(returned, Endpoint) or not isinstance(returned, Iterable):
            raise ConfigurationError(
                f"{quoted(self._function)} returned {quoted(returned)}: expected a list of addresses"
            )
        return Answer.of(dict.fromkeys(map(endpoint, returned)), kind=self.kind)


def as_source(given: SourceLike) -> Source:
    """The source itself, or a `FunctionSource` around a callable; else `ConfigurationError`."""
    if isinstance(given, type):
        raise ConfigurationError(f"source={given.__name__}: a class; write {given.__name__}(…)")
    if callable(getattr(given, "lookup", None)) or callable(getattr(given, "watch", None)):
        if not isinstance(getattr(given, "kind", None), str):
            raise ConfigurationError(f"source={quoted(given)}: expected a string `kind`, its name in errors")
        return given  # type: ignore[return-value]  # found out in the lines above
    if callable(given):
        return FunctionSource(given)
    raise ConfigurationError(
        f"source={quoted(given)}: expected an object with `lookup` or `watch`, or a callable that returns "
        "addresses"
    )
