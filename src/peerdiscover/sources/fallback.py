"""Fallback: one source, and a second one for when the first fails.

Invariants:

* The second source is asked only while the first fails. The first is tried again all the while.
* What is known stays: an answer of the second changes the set by the rules of its own kind.
* A first source that pushes is watched. While its watch is down, the second is asked at the usual times
  (the core says when: `membership.watch_state`). A first source that pulls gets half of the time.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from peerdiscover.answers import Answer, LookupRequest, PullSource, PushSource, Source
from peerdiscover.errors import ConfigurationError

from . import _calling
from .function import as_source

if TYPE_CHECKING:
    from .function import SourceLike

__all__ = ["Fallback"]


class Fallback:
    """Asks `first`, and `second` while `first` fails: `Fallback(Kubernetes(), DNS())`.

    Both are sources, or functions that return addresses. The log says once, at WARNING, that the first
    fails, and at the same level that it works again. Raises `ConfigurationError` if one is no source.
    """

    kind = "fallback"

    def __init__(self, first: SourceLike, second: SourceLike) -> None:
        self._first: Source = _source(first)
        self._second: Source = _source(second)
        self._stuck_calls: tuple[set[object], set[object]] = (set(), set())
        self.fallback: str = "DNS" if self._second.kind == "dns" else "the second source"
        """What is asked while the first fails, in words for the log."""
        if isinstance(self._first, PushSource):
            untyped: Any = self._first
            self.watch = untyped.watch
            self.awatch = getattr(untyped, "awatch", untyped.watch)

    def __repr__(self) -> str:
        return f"Fallback({self._first!r}, {self._second!r})"

    def lookup(self, request: LookupRequest) -> Answer:
        """One answer: of the first source if it pulls and answers, else of the second."""
        if not isinstance(self._first, PullSource):
            return _calling.pull(self._second, request)
        half = replace(request, timeout=request.timeout / 2)
        answer = _calling.pull(self._first, half)
        if answer.is_evidence:
            return answer
        return _calling.merge_fallback(answer, _calling.pull(self._second, half))

    async def alookup(self, request: LookupRequest) -> Answer:
        """`lookup`, awaited, under asyncio and trio."""
        if not isinstance(self._first, PullSource):
            return await _calling.apull(self._second, request, self._stuck_calls[1])
        half = replace(request, timeout=request.timeout / 2)
        answer = await _calling.apull(self._first, half, self._stuck_calls[0])
        if answer.is_evidence:
            return answer
        second = await _calling.apull(self._second, half, self._stuck_calls[1])
        return _calling.merge_fallback(answer, second)


def _source(given: SourceLike | None) -> Source:
    if given is None:
        raise ConfigurationError("Fallback(None, …): expected two sources, such as Kubernetes() and DNS()")
    return as_source(given)
