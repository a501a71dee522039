"""Sources made by hand: they say what a test wants, and tell when they were asked.

Invariants:

* A source announces each question, so that no test has to sleep until one was asked.
* What they say is an `Answer`, an exception to raise, or a function of the question.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

import anyio

from peerdiscover import Answer, Endpoint, LookupRequest, Outcome
from tests.waiting import LONG

Say = Answer | BaseException | Callable[[LookupRequest], Any]

NOT_FOUND = Answer(outcome=Outcome.NOT_FOUND, ttl=5)
FAILED = Answer.failed("the test says so")


def pods(*numbers: int, ttl: float | None = 5, **more: Any) -> Answer:
    """A whole answer with pods `web-N` at 10.0.0.N."""
    return Answer.of([Endpoint((f"10.0.0.{n}",), 80, f"web-{n}") for n in numbers], ttl=ttl).replace(**more)


def told(*numbers: int) -> Answer:
    """What a watch of the source of truth says."""
    return pods(*numbers, ttl=None, authoritative=True)


def _said(say: Say, ask: LookupRequest) -> Any:
    if isinstance(say, BaseException):
        raise say
    return say if isinstance(say, Answer) else say(ask)


class Script:
    """Asked in threads: says each thing in turn, and the last one for ever."""

    kind = "test"

    def __init__(self, *says: Say) -> None:
        self._says = list(says)
        self._asked = threading.Condition()
        self.asks: list[LookupRequest] = []

    def say(self, *says: Say) -> None:
        """From now on say these."""
        with self._asked:
            self._says = list(says)

    def lookup(self, ask: LookupRequest) -> Any:
        with self._asked:
            self.asks.append(ask)
            self._asked.notify_all()
            say = self._says.pop(0) if len(self._says) > 1 else self._says[0]
        return _said(say, ask)

    def wait_asked(self, count: int) -> None:
        """Return once it was asked so often."""
        with self._asked:
            assert self._asked.wait_for(lambda: len(self.asks) >= count, LONG), (
                f"asked {len(self.asks)} times"
            )


class AsyncScript:
    """Awaited: says each thing in turn, and the last one for ever. Keeps the times of the questions."""

    kind = "test"

    def __init__(self, *says: Say, takes: float = 0.0) -> None:
        self._says = list(says)
        self.takes = takes
        self.asks: list[LookupRequest] = []
        self.at: list[float] = []
        self.cancelled = 0

    def say(self, *says: Say) -> None:
        """From now on say these."""
        self._says = list(says)

    @property
    def gaps(self) -> list[float]:
        """Seconds between one question and the next."""
        return [round(b - a, 6) for a, b in zip(self.at, self.at[1:], strict=False)]

    async def lookup(self, ask: LookupRequest) -> Any:
        self.asks.append(ask)
        self.at.append(anyio.current_time())
        say = self._says.pop(0) if len(self._says) > 1 else self._says[0]
        try:
            await anyio.sleep(self.takes)
        except anyio.get_cancelled_exc_class():
            self.cancelled += 1
            raise
        return _said(say, ask)


class Watch:
    """Watched in threads: hands over what `tell` puts in. An exception in it ends the watch."""

    kind = "test"

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._queue: list[Answer | BaseException] = []
        self.begun = 0

    def tell(self, *says: Answer | BaseException) -> None:
        with self._news:
            self._queue += says
            self._news.notify_all()

    def watch(self, ask: LookupRequest) -> Iterator[Answer]:
        with self._news:
            self.begun += 1
            self._news.notify_all()
        while True:
            with self._news:
                while not self._queue:
                    if ask.cancelled():
                        return
                    self._news.wait(0.05)
                say = self._queue.pop(0)
            if isinstance(say, BaseException):
                raise say
            yield say

    def wait_begun(self, count: int) -> None:
        with self._news:
            assert self._news.wait_for(lambda: self.begun >= count, LONG), f"begun {self.begun} times"


class AsyncWatch:
    """Watched by a task: so many seconds after its beginning it hands over this. Each watch has a list."""

    kind = "test"

    def __init__(self, *watches: Sequence[tuple[float, Answer | BaseException]]) -> None:
        self._watches = list(watches)
        self.at: list[float] = []
        self.ended = 0

    async def watch(self, _ask: LookupRequest) -> AsyncIterator[Answer]:
        began = anyio.current_time()
        self.at.append(began)
        script = self._watches.pop(0) if self._watches else None
        try:
            for when, say in script or []:
                await anyio.sleep_until(began + when)
                if isinstance(say, BaseException):
                    raise say
                yield say
            if script is None:
                await anyio.sleep_forever()
        finally:
            self.ended += 1
