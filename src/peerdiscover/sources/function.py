"""Called: a user's own function as a source.

Rules of this room:

* Whatever the function returns is the whole list; nothing returned means that nobody is there.
* What it raises is left to whoever asks: for a source, that is a failed answer.
* One text is no list of one: it is refused, since its characters would be one.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from peerdiscover.answers import Answer, Endpoint, LookupRequest, Source
from peerdiscover.errors import ConfigurationError

from .static import endpoint

__all__ = ["FunctionSource", "as_source"]


class FunctionSource:
    """Calls `function()`, which returns addresses: `"ip:port"` texts, `Peer`s or `Endpoint`s.

    A coroutine function is awaited: then `lookup` returns an awaitable.
    """

    kind = "callable"

    def __init__(self, function: Callable[[], Any]) -> None:
        if not callable(function):
            raise ConfigurationError(f"{function!r}: a callable without arguments is wanted")
        self._function = function
        if inspect.iscoroutinefunction(function):
            self.alookup: Callable[[LookupRequest], Awaitable[Answer]] = (
                self._alookup
            )  # no thread is needed to ask it

    def __repr__(self) -> str:
        return f"Called({self._function!r})"

    def lookup(self, ask: LookupRequest) -> Answer | Awaitable[Answer]:  # noqa: ARG002 -- the protocol of a source: the function takes no arguments
        """What the function says. Raises what it raises, and `ConfigurationError` for what is no address."""
        returned = self._function()
        if inspect.isawaitable(returned):
            return self._awaited(returned)
        return self._answer(returned)

    async def _alookup(self, ask: LookupRequest) -> Answer:  # noqa: ARG002 -- as above
        return self._answer(await self._function())

    async def _awaited(self, returned: Awaitable[object]) -> Answer:
        return self._answer(await returned)

    def _answer(self, returned: object) -> Answer:
        if returned is None:
            return Answer.of((), kind=self.kind)
        if isinstance(returned, str | bytes):
            raise ConfigurationError(
                f"{self._function!r} returned {returned!r}: a list is wanted, [{returned!r}]"
            )
        if isinstance(returned, Endpoint) or not isinstance(returned, Iterable):
            raise ConfigurationError(
                f"{self._function!r} returned {returned!r}: a list of addresses is wanted"
            )
        return Answer.of(dict.fromkeys(map(endpoint, returned)), kind=self.kind)


def as_source(given: object) -> Source:
    """The source that is given: one that has `lookup` or `watch`, or a callable that returns addresses."""
    if isinstance(given, type):
        raise ConfigurationError(f"source={given.__name__}: a class; write {given.__name__}(…)")
    if callable(getattr(given, "lookup", None)) or callable(getattr(given, "watch", None)):
        return given  # type: ignore[return-value]  # found out in the line above
    if callable(given):
        return FunctionSource(given)
    raise ConfigurationError(
        f"source={given!r}: a source has `lookup` or `watch`; a callable that returns addresses will do, too"
    )
