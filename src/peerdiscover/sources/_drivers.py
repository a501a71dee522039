"""The two drivers of a DNS lookup: one blocks a thread, one awaits. They wait, and decide nothing.

Rules of this room:

* The plan yields a batch of questions and is sent the replies, until it returns the answer.
* The questions of a batch are asked at the same time, at most `AT_ONCE` of them, each on its own socket.
* The blocking driver looks at `cancelled` at least every `GLANCE` seconds. It polls, without epoll,
  so that nothing is shared with the child of a fork. The other one is cancelled as any task is.
* The clock is the driver's own: monotonic, or that of the event loop.
"""

from __future__ import annotations

import selectors
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import closing

import anyio

from peerdiscover.answers import Answer

from ._exchange import Exchange, Memory
from ._questions import Batch, Reply, Server
from ._sockets import Flight

__all__ = ["Plan", "adrive", "drive"]

Plan = Generator[Batch, list[Reply], Answer]

AT_ONCE = 32
GLANCE = 0.1
_Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)


def _exchanges(
    batch: Batch, servers: Sequence[Server], memory: Memory, began: float, timeout: float, now: float
) -> list[Exchange]:
    until = min(began + timeout * batch.share, now + batch.limit)
    return [
        Exchange(question, servers, memory, now=now, until=until, fresh=batch.fresh)
        for question in batch.questions
    ]


def _replies(exchanges: list[Exchange]) -> list[Reply]:
    return [exchange.reply for exchange in exchanges if exchange.reply is not None]


def drive(
    plan: Plan,
    servers: Sequence[Server],
    memory: Memory,
    timeout: float,
    cancelled: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> Answer:
    """The answer of `plan`, within `timeout` seconds."""
    began = clock()
    replies: list[Reply] | None = None
    while True:
        try:
            batch = next(plan) if replies is None else plan.send(replies)
        except StopIteration as end:
            answer: Answer = end.value
            return answer
        exchanges = _exchanges(batch, servers, memory, began, timeout, clock())
        if not _Together(exchanges, clock).run(cancelled):
            plan.close()
            return Answer.failed("cancelled")
        replies = _replies(exchanges)


class _Together:
    """Several exchanges in one thread, on one selector."""

    def __init__(self, exchanges: list[Exchange], clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waiting = deque(exchanges)
        self._flights: dict[Exchange, Flight] = {}
        self._selector = _Selector()

    def run(self, cancelled: Callable[[], bool]) -> bool:
        """Until each exchange has its reply. Returns False where it was cancelled before."""
        try:
            while self._waiting or self._flights:
                if cancelled():
                    return False
                self._take_off()
                for key, _ in self._selector.select(self._seconds()):
                    self._serve(key.data)
                now = self._clock()
                for exchange in [e for e, f in self._flights.items() if f.attempt.ends <= now]:
                    self._land(exchange)
                    exchange.timed_out(now)
            return True
        finally:
            for flight in self._flights.values():
                flight.close()
            self._selector.close()

    def _take_off(self) -> None:
        """Begin the tries that are due, as far as there is room."""
        later = deque[Exchange]()
        while self._waiting:
            exchange = self._waiting.popleft()
            while (attempt := exchange.attempt) is not None:
                if len(self._flights) >= AT_ONCE or attempt.starts > self._clock():
                    later.append(exchange)
                    break
                try:
                    flight = Flight(attempt)
                except OSError as error:
                    exchange.failed(error, self._clock())
                    continue
                self._flights[exchange] = flight
                self._selector.register(flight, _events(flight), exchange)
                break
        self._waiting = later

    def _seconds(self) -> float:
        """How long to wait for a socket."""
        if not self._flights and not self._waiting:
            return 0.0
        times = [flight.attempt.ends for flight in self._flights.values()]
        if len(self._flights) < AT_ONCE:
            times += [exchange.attempt.starts for exchange in self._waiting if exchange.attempt]
        return max(0.0, min(GLANCE, min(times) - self._clock()))

    def _serve(self, exchange: Exchange) -> None:
        flight = self._flights[exchange]
        try:
            wire = flight.ready()
        except OSError as error:
            self._land(exchange)
            exchange.failed(error, self._clock())
            return
        if wire is None:
            self._selector.modify(flight, _events(flight), exchange)
        elif exchange.received(wire, self._clock()):
            self._land(exchange)

    def _land(self, exchange: Exchange) -> None:
        flight = self._flights.pop(exchange)
        self._selector.unregister(flight)
        flight.close()
        self._waiting.append(exchange)


def _events(flight: Flight) -> int:
    return selectors.EVENT_WRITE if flight.writing else selectors.EVENT_READ


async def adrive(plan: Plan, servers: Sequence[Server], memory: Memory, timeout: float) -> Answer:
    """The same, awaited. Cancelling it closes its sockets."""
    began = anyio.current_time()
    replies: list[Reply] | None = None
    while True:
        try:
            batch = next(plan) if replies is None else plan.send(replies)
        except StopIteration as end:
            answer: Answer = end.value
            return answer
        exchanges = _exchanges(batch, servers, memory, began, timeout, anyio.current_time())
        room = anyio.Semaphore(AT_ONCE)
        async with anyio.create_task_group() as group:
            for exchange in exchanges:
                group.start_soon(_alone, exchange, room)
        replies = _replies(exchanges)


async def _alone(exchange: Exchange, room: anyio.Semaphore) -> None:
    async with room:
        while (attempt := exchange.attempt) is not None:
            if attempt.starts > anyio.current_time():
                await anyio.sleep_until(attempt.starts)
            try:
                flight = Flight(attempt)
                with closing(flight), anyio.CancelScope(deadline=attempt.ends):
                    await _wait(exchange, flight)
            except OSError as error:
                exchange.failed(error, anyio.current_time())
            if exchange.attempt is attempt:
                exchange.timed_out(anyio.current_time())


async def _wait(exchange: Exchange, flight: Flight) -> None:
    while True:
        await (anyio.wait_writable if flight.writing else anyio.wait_readable)(flight.socket)
        wire = flight.ready()
        if wire is not None and exchange.received(wire, anyio.current_time()):
            return
