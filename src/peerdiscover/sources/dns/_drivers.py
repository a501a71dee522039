"""The two drivers of a DNS lookup: one blocks a thread, one awaits. They wait and decide nothing.

Invariants:

* The plan yields a batch of questions and is sent the replies, until it returns the answer.
* The questions of a batch are asked at the same time, at most `MAX_IN_FLIGHT` of them, each on a socket
  of its own. One whose transmission timed out, or that pauses, keeps no other from being asked.
* The blocking driver looks at `cancelled` at least every `POLL_INTERVAL` seconds. It polls, without epoll,
  so that nothing is shared with the child of a fork. The other one is cancelled as any task is.
* Each driver has its own clock: the monotonic one, or that of the event loop.
"""

from __future__ import annotations

import selectors
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import chain

import anyio

from peerdiscover.answers import Answer
from peerdiscover.sources._server import Server

from ._exchange import Exchange, Transmission
from ._remembered import ServerStats
from ._sockets import PendingQuery
from ._types import OPTIONAL_TIMEOUT, Batch, Plan

MAX_IN_FLIGHT = 16
POLL_INTERVAL = 0.1
_Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)


def _exchanges(
    batch: Batch, servers: Sequence[Server], stats: ServerStats, began: float, timeout: float, now: float
) -> list[Exchange]:
    until = min(began + timeout * batch.share, now + batch.limit)
    exchanges = []
    for question in batch.questions:
        own = now + (until - now) * batch.time_shares.get(question, 1.0)
        exchanges.append(
            Exchange(question, servers, stats, now=now, until=own, bypass_cache=batch.bypass_cache)
        )
    soon = min(until, now + OPTIONAL_TIMEOUT)
    beside = [Exchange(q, servers, stats.snapshot(), now=now, until=soon) for q in batch.optional]
    return exchanges + beside


def _step(plan: Plan, exchanges: list[Exchange] | None = None) -> Batch | Answer:
    """The first batch of questions, or what follows from the replies of these: a batch, or the answer."""
    try:
        if exchanges is None:
            return next(plan)
        return plan.send([exchange.reply for exchange in exchanges if exchange.reply is not None])
    except StopIteration as end:
        answer: Answer = end.value
        return answer


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
    step = _step(plan)
    while isinstance(step, Batch):
        exchanges = _exchanges(step, servers, stats, began, timeout, clock())
        if not _SelectorDriver(exchanges, clock).run(cancelled):
            plan.close()
            return Answer.failed("cancelled")
        step = _step(plan, exchanges)
    return step


class _SelectorDriver:
    """Several exchanges in one thread, on one selector."""

    def __init__(self, exchanges: list[Exchange], clock: Callable[[], float]) -> None:
        self._clock = clock
        self._waiting = deque(exchanges)
        self._in_flight: dict[Exchange, PendingQuery] = {}
        """The current transmission of each."""
        self._late: dict[Exchange, list[PendingQuery]] = {exchange: [] for exchange in exchanges}
        """Transmissions that timed out but may yet be answered."""
        self._selector = _Selector()

    def run(self, cancelled: Callable[[], bool]) -> bool:
        """Run until each exchange has its reply. Returns False if it was cancelled before."""
        try:
            while self._waiting or self._in_flight:
                if cancelled():
                    return False
                self._start_due()
                for key, _ in self._selector.select(self._seconds()):
                    self._serve(*key.data)
                now = self._clock()
                for exchange in [e for e, q in self._in_flight.items() if q.transmission.ends_at <= now]:
                    exchange.timed_out(now)
                    self._proceed(exchange)
            return True
        finally:
            for query in (*self._in_flight.values(), *chain.from_iterable(self._late.values())):
                query.close()
            self._selector.close()

    def _start_due(self) -> None:
        """Start the transmissions that are due, at most `MAX_IN_FLIGHT`."""
        later = deque[Exchange]()
        while self._waiting:
            exchange = self._waiting.popleft()
            while (transmission := exchange.current) is not None:
                now = self._clock()
                if len(self._in_flight) >= MAX_IN_FLIGHT or transmission.starts_at > now:
                    later.append(exchange)
                    break
                try:
                    query = PendingQuery(exchange.begin(now))
                except OSError as error:
                    exchange.failed(error, self._clock())
                    continue
                self._in_flight[exchange] = query
                self._selector.register(query, _events(query), (exchange, query))
                break
            else:
                for query in self._late.pop(exchange):
                    self._finish(query)
        self._waiting = later

    def _seconds(self) -> float:
        """How long to wait for a socket."""
        if not self._in_flight and not self._waiting:
            return 0.0
        times = [query.transmission.ends_at for query in self._in_flight.values()]
        if len(self._in_flight) < MAX_IN_FLIGHT:
            times += [exchange.current.starts_at for exchange in self._waiting if exchange.current]
        return max(0.0, min(POLL_INTERVAL, min(times) - self._clock()))

    def _serve(self, exchange: Exchange, query: PendingQuery) -> None:
        if query.fileno() < 0:
            return  # closed since the selector saw it
        done = False
        try:
            wire = query.ready()
            done = wire is not None and exchange.received(wire, self._clock(), query.transmission)
        except OSError as error:
            done = True
            if exchange.current is query.transmission:
                exchange.failed(error, self._clock())
        if done and query in self._late[exchange]:
            self._late[exchange].remove(query)
            self._finish(query)
        elif not done:
            self._selector.modify(query, _events(query), (exchange, query))
        current = self._in_flight.get(exchange)
        if current is not None and current.transmission is not exchange.current:
            self._proceed(exchange, done=done and current is query)

    def _proceed(self, exchange: Exchange, *, done: bool = False) -> None:
        """Move on to the next transmission. The current one may still be answered, unless it is done."""
        query = self._in_flight.pop(exchange)
        if done or query.transmission.tcp:
            self._finish(query)
        else:
            self._late[exchange].append(query)
        self._waiting.append(exchange)

    def _finish(self, query: PendingQuery) -> None:
        self._selector.unregister(query)
        query.close()


def _events(query: PendingQuery) -> int:
    return selectors.EVENT_WRITE if query.writing else selectors.EVENT_READ


async def arun_plan(plan: Plan, servers: Sequence[Server], stats: ServerStats, timeout: float) -> Answer:
    """`run_plan`, awaited. Cancelling it closes its sockets."""
    began = anyio.current_time()
    step = _step(plan)
    while isinstance(step, Batch):
        exchanges = _exchanges(step, servers, stats, began, timeout, anyio.current_time())
        slots = anyio.Semaphore(MAX_IN_FLIGHT)
        async with anyio.create_task_group() as group:
            for exchange in exchanges:
                group.start_soon(_TaskDriver(exchange).run, slots)
        step = _step(plan, exchanges)
    return step


class _TaskDriver:
    """One exchange in a task, with a task for each of its transmissions."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._changed = anyio.Event()

    async def run(self, slots: anyio.Semaphore) -> None:
        """Run until the exchange has its reply."""
        exchange = self._exchange
        async with anyio.create_task_group() as group:
            while (transmission := exchange.current) is not None:
                await self._until(transmission.starts_at, transmission)
                if exchange.current is not transmission:
                    continue
                async with slots:
                    if exchange.current is not transmission:
                        continue  # a late reply came meanwhile
                    transmission = exchange.begin(anyio.current_time())
                    group.start_soon(self._listen, transmission)
                    await self._until(transmission.ends_at, transmission)
                if exchange.current is transmission:
                    exchange.timed_out(anyio.current_time())
            group.cancel_scope.cancel()

    async def _until(self, deadline: float, transmission: Transmission) -> None:
        """Wait until the deadline, or until the exchange is past this transmission."""
        with anyio.CancelScope(deadline=deadline):
            while self._exchange.current is transmission and anyio.current_time() < deadline:
                self._changed = anyio.Event()
                await self._changed.wait()

    async def _listen(self, transmission: Transmission) -> None:
        """Send, and pass on what arrives; over UDP also what arrives late."""
        with anyio.CancelScope(deadline=transmission.ends_at if transmission.tcp else self._exchange.until):
            try:
                with closing(PendingQuery(transmission)) as query:
                    done = False
                    while not done:
                        await (anyio.wait_writable if query.writing else anyio.wait_readable)(query.socket)
                        wire = query.ready()
                        now = anyio.current_time()
                        done = wire is not None and self._exchange.received(wire, now, transmission)
            except OSError as error:
                if self._exchange.current is transmission:
                    self._exchange.failed(error, anyio.current_time())
            self._changed.set()
