"""Fallback: one source, and another one for when the first fails.

Rules of this room:

* The second is asked only while the first fails, and the first is tried again all the while.
* What was known is kept: an answer of the second changes the set by the rules of its own kind.
* A first that tells by itself is watched, and the second asked by the usual times while that watch is
  down (the core says when: `membership.floor`). A first that is asked has half of the time.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from peerdiscover.answers import Answer, LookupRequest, PullSource, PushSource, Source
from peerdiscover.errors import ConfigurationError

from . import _calling
from .function import as_source

__all__ = ["Fallback"]


class Fallback:
    """Asks `first`, and `second` while `first` fails: `Fallback(Kubernetes(), DNS())`.

    Both are sources, or callables that return addresses. That the first fails is said once in the log,
    at WARNING, and at INFO that it works again. `ConfigurationError` where one of them is no source.
    """

    kind = "fallback"

    def __init__(self, first: object, second: object) -> None:
        self._first: Source = _source(first)
        self._second: Source = _source(second)
        self._blocked: tuple[set[object], set[object]] = (set(), set())
        if isinstance(self._first, PushSource):
            both: Any = self._first
            self.watch = both.watch
            self.awatch = getattr(both, "awatch", both.watch)

    def __repr__(self) -> str:
        return f"Fallback({self._first!r}, {self._second!r})"

    def lookup(self, ask: LookupRequest) -> Answer:
        """One answer: of the first where that is asked and answers, else of the second."""
        if not isinstance(self._first, PullSource):
            return _calling.lookup(self._second, ask)
        half = replace(ask, timeout=ask.timeout / 2)
        answer = _calling.lookup(self._first, half)
        return (
            answer
            if answer.is_evidence
            else _calling.merge_fallback(answer, _calling.lookup(self._second, half))
        )

    async def alookup(self, ask: LookupRequest) -> Answer:
        """The same, awaited, under asyncio and trio."""
        if not isinstance(self._first, PullSource):
            return await _calling.alookup(self._second, ask, self._blocked[1])
        half = replace(ask, timeout=ask.timeout / 2)
        answer = await _calling.alookup(self._first, half, self._blocked[0])
        if answer.is_evidence:
            return answer
        return _calling.merge_fallback(answer, await _calling.alookup(self._second, half, self._blocked[1]))


def _source(given: object) -> Source:
    if given is None:
        raise ConfigurationError("Fallback(None, …): two sources are wanted, such as Kubernetes() and DNS()")
    return as_source(given)
