"""The two drivers of a DNS lookup: one blocks a thread, one awaits. They wait, and decide nothing.

Rules of this room:

* The plan yields a batch of questions and is sent the replies, until it returns the answer.
* The questions of a batch are asked at the same time, at most `MAX_IN_FLIGHT` of them, each on a socket
  of its own.
* The blocking driver looks at `cancelled` at least every `POLL_INTERVAL` seconds. It polls, without epoll,
  so that nothing is shared with the child of a fork. The other one is cancelled as any task is.
* The clock is the driver's own: monotonic, or that of the event loop.
"""

from __future__ import annotations

import selectors
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from itertools import chain

import anyio

from peerdiscover.answers import Answer
from peerdiscover.sources._server import Server

from ._exchange import Exchange, ServerStats, Transmission
from ._sockets import PendingQuery
from ._types import OPTIONAL_TIMEOUT, Batch, Reply

__all__ = ["Plan", "arun_plan", "run_plan"]

Plan = Generator[Batch, list[Reply], Answer]

MAX_IN_FLIGHT = 16
POLL_INTERVAL = 0.1
_Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)


def _exchanges(
    batch: Batch, servers: Sequence[Server], stats: ServerStats, began: float, timeout: float, now: float
) -> list[Exchange]:
    until = min(began + timeout * batch.share, now + batch.limit)
    return [
        *(
            Exchange(question, servers, stats, now=now, until=until, bypass_cache=batch.bypass_cache)
            for question in batch.questions
        ),
        *(
            Exchange(question, servers, stats.snapshot(), now=now, until=min(until, now + OPTIONAL_TIMEOUT))
            for question in batch.optional
        ),
    ]


def _step(plan: Plan, replies: list[Reply] | None) -> Batch | Answer:
    """What the plan wants asked after those replies (None: at its start), or the answer."""
    try:
        return next(plan) if replies is None else plan.send(replies)
    except StopIteration as end:
        answer: Answer = end.value
        return answer


def _replies(exchanges: list[Exchange]) -> list[Reply]:
    return [exchange.reply for exchange in exchanges if exchange.reply is not None]


def run_plan(
    plan: Plan,
    servers: Sequence[Server],
    stats: ServerStats,
    timeout: float,
    cancelled: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> Answer:
    """The answer of `plan`, within `timeout` seconds."""
    began = clock()
    replies: list[Reply] | None = None
    while True:
        step = _step(plan, replies)
        if isinstance(step, Answer):
            return step
        exchanges = _exchanges(step, servers, stats, began, timeout, clock())
        if not _SelectorDriver(exchanges, clock).run(cancelled):
            plan.close()
            return Answer.failed("cancelled")
        replies = _replies(exchanges)


class _SelectorDriver:
    """Several exchanges in one thread, on one selector."""

    def __init__(self, exchanges: list[Exchange], clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waiting = deque(exchanges)
        self._in_flight: dict[Exchange, PendingQuery] = {}
        """The present try of each."""
        self._late: dict[Exchange, list[PendingQuery]] = {exchange: [] for exchange in exchanges}
        """Tries that timed out, and may yet be answered."""
        self._selector = _Selector()

    def run(self, cancelled: Callable[[], bool]) -> bool:
        """Until each exchange has its reply. Returns False where it was cancelled before."""
        try:
            while self._waiting or self._in_flight:
                if cancelled():
                    return False
                self._start_due()
                for key, _ in self._selector.select(self._seconds()):
                    self._serve(*key.data)
                now = self._clock()
                for exchange in [e for e, f in self._in_flight.items() if f.attempt.ends_at <= now]:
                    exchange.timed_out(now)
                    self._proceed(exchange)
            return True
        finally:
            for flight in (*self._in_flight.values(), *chain.from_iterable(self._late.values())):
                flight.close()
            self._selector.close()

    def _start_due(self) -> None:
        """Begin the tries that are due, as far as there is room."""
        later = deque[Exchange]()
        while self._waiting:
            exchange = self._waiting.popleft()
            while (attempt := exchange.current) is not None:
                if len(self._in_flight) >= MAX_IN_FLIGHT or attempt.starts_at > self._clock():
                    later.append(exchange)
                    break
                try:
                    flight = PendingQuery(attempt)
                except OSError as error:
                    exchange.failed(error, self._clock())
                    continue
                self._in_flight[exchange] = flight
                self._selector.register(flight, _events(flight), (exchange, flight))
                break
            else:
                for flight in self._late.pop(exchange):
                    self._finish(flight)
        self._waiting = later

    def _seconds(self) -> float:
        """How long to wait for a socket."""
        if not self._in_flight and not self._waiting:
            return 0.0
        times = [flight.attempt.ends_at for flight in self._in_flight.values()]
        if len(self._in_flight) < MAX_IN_FLIGHT:
            times += [exchange.current.starts_at for exchange in self._waiting if exchange.current]
        return max(0.0, min(POLL_INTERVAL, min(times) - self._clock()))

    def _serve(self, exchange: Exchange, flight: PendingQuery) -> None:
        if flight.fileno() < 0:
            return  # closed since the selector saw it
        over = False
        try:
            wire = flight.ready()
            over = wire is not None and exchange.received(wire, self._clock(), flight.attempt)
        except OSError as error:
            over = True
            if exchange.current is flight.attempt:
                exchange.failed(error, self._clock())
        if over and flight in self._late[exchange]:
            self._late[exchange].remove(flight)
            self._finish(flight)
        elif not over:
            self._selector.modify(flight, _events(flight), (exchange, flight))
        present = self._in_flight.get(exchange)
        if present is not None and present.attempt is not exchange.current:
            self._proceed(exchange, over=over and present is flight)

    def _proceed(self, exchange: Exchange, *, over: bool = False) -> None:
        """The present try gave way to the next. Unless it is over, it may still be answered."""
        flight = self._in_flight.pop(exchange)
        if over or flight.attempt.tcp:
            self._finish(flight)
        else:
            self._late[exchange].append(flight)
        self._waiting.append(exchange)

    def _finish(self, flight: PendingQuery) -> None:
        self._selector.unregister(flight)
        flight.close()


def _events(flight: PendingQuery) -> int:
    return selectors.EVENT_WRITE if flight.writing else selectors.EVENT_READ


async def arun_plan(plan: Plan, servers: Sequence[Server], stats: ServerStats, timeout: float) -> Answer:
    """The same, awaited. Cancelling it closes its sockets."""
    began = anyio.current_time()
    replies: list[Reply] | None = None
    while True:
        step = _step(plan, replies)
        if isinstance(step, Answer):
            return step
        exchanges = _exchanges(step, servers, stats, began, timeout, anyio.current_time())
        room = anyio.Semaphore(MAX_IN_FLIGHT)
        async with anyio.create_task_group() as group:
            for exchange in exchanges:
                group.start_soon(_TaskDriver(exchange).run, room)
        replies = _replies(exchanges)


class _TaskDriver:
    """One exchange in a task, with a task for each of its tries."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._changed = anyio.Event()

    async def run(self, room: anyio.Semaphore) -> None:
        """Until the exchange has its reply."""
        async with room, anyio.create_task_group() as group:
            while (attempt := self._exchange.current) is not None:
                await self._until(attempt.starts_at, attempt)
                if self._exchange.current is attempt:
                    group.start_soon(self._listen, attempt)
                    await self._until(attempt.ends_at, attempt)
                if self._exchange.current is attempt:
                    self._exchange.timed_out(anyio.current_time())
            group.cancel_scope.cancel()

    async def _until(self, deadline: float, attempt: Transmission) -> None:
        """Wait until then, or until the exchange is past this try."""
        with anyio.CancelScope(deadline=deadline):
            while self._exchange.current is attempt and anyio.current_time() < deadline:
                self._changed = anyio.Event()
                await self._changed.wait()

    async def _listen(self, attempt: Transmission) -> None:
        """Make a try, and take what comes for it; over UDP also what comes late."""
        with anyio.CancelScope(deadline=attempt.ends_at if attempt.tcp else self._exchange.until):
            try:
                with closing(PendingQuery(attempt)) as flight:
                    over = False
                    while not over:
                        await (anyio.wait_writable if flight.writing else anyio.wait_readable)(flight.socket)
                        wire = flight.ready()
                        now = anyio.current_time()
                        over = wire is not None and self._exchange.received(wire, now, attempt)
            except OSError as error:
                if self._exchange.current is attempt:
                    self._exchange.failed(error, anyio.current_time())
            self._changed.set()
