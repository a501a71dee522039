"""Outages of five seconds under load: what pods are sent then, and when they are back, by their own count.

How those who waited are spread over time is asked of the steps alone, in time that is told: on a machine with
other work to do they come as it lets them.
"""

from __future__ import annotations

import asyncio
import heapq
import random
import threading
import time
from bisect import bisect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import httpx
import pytest

from peerdiscover import AsyncDiscovery, Discovery, Peer
from peerdiscover.http import AsyncPodTransport, PodTransport
from peerdiscover.http._budget import RetryBudget
from peerdiscover.http._retry import AttemptOutcome, FailedAttempt, RetryState
from tests.waiting import LONG

from ._flavors import SLOW
from ._load import Load, load, load_in_threads
from ._pods import Pods, pods

RATE, OUT, AFTER = 40, 5.0, 2.0
SHARE, FLOOR = 0.2, 10  # as in the rules of the budget
URL = "http://web.prod/"


@dataclass
class Outage:
    """What was sent, and what the pods saw of it."""

    load: Load
    service: Pods
    lasted: float
    """For how many seconds the pods were out."""

    def check(self, *named: str) -> None:
        """All were answered, or failed for one of these; none was executed more often than it was sent."""
        assert self.load.sent == len(self.load.answered)
        other = [one for one in self.load.failed if not any(name in one.error for name in named)]
        assert not other, other[:5]
        executed = self.service.executed()
        assert all((1 if one.pod else 0) <= executed[one.id] <= one.sent for one in self.load.answered)


def outage(
    service: Pods, flavor: str, begin: Callable[[], None], end: Callable[[], None], timeout: float = 3
) -> Outage:
    """A load, in which the pods are out for a while."""
    over, lasted = threading.Event(), 0.0

    def happen(refresh: Callable[[], object]) -> None:
        nonlocal lasted
        time.sleep(1)
        began = time.monotonic()
        begin()
        time.sleep(OUT)
        end()
        lasted = time.monotonic() - began
        refresh()
        time.sleep(AFTER)
        over.set()

    def is_over(_: float, __: int) -> bool:
        return over.is_set()

    def in_threads() -> Load:
        with (
            Discovery("web.prod", source=service.source, policy=SLOW) as discovery,
            httpx.Client(transport=PodTransport(discovery), timeout=timeout) as client,
        ):
            thread = threading.Thread(target=happen, args=(discovery.refresh,))
            thread.start()
            result = load_in_threads(client, RATE, is_over, URL)
            thread.join()
            return result

    async def in_tasks() -> Load:
        async with (
            AsyncDiscovery("web.prod", source=service.source, policy=SLOW) as discovery,
            httpx.AsyncClient(transport=AsyncPodTransport(discovery), timeout=timeout) as client,
        ):
            loop = asyncio.get_running_loop()

            def refresh() -> None:
                asyncio.run_coroutine_threadsafe(discovery.refresh(), loop).result(LONG)

            happening = asyncio.create_task(asyncio.to_thread(happen, refresh))
            result = await load(client, RATE, is_over, URL)
            await happening
            return result

    result = in_threads() if flavor == "threads" else asyncio.run(in_tasks())
    return Outage(result, service, lasted)


def side_by_side(*outages: Callable[[], Outage]) -> list[Outage]:
    """What came of them; each mostly waits."""
    with ThreadPoolExecutor(len(outages)) as threads:
        return [future.result() for future in [threads.submit(one) for one in outages]]


def test_all_refuse() -> None:
    """Who has time waits for pods, in threads for the same ones, in tasks for others. Each goes to one of
    them, once.
    """

    def refused(flavor: str, service: Pods, back: int) -> Outage:
        service.shown = service.all[:3]

        def begin() -> None:
            service.manner("bye")  # requests in flight are answered, and each connection ends with its own
            for pod in service.all:
                pod.refuse()

        def end() -> None:
            service.manner("ok")
            service.shown = service.all[back : back + 3]
            for pod in service.shown:
                pod.start()

        return outage(service, flavor, begin, end)

    with pods(6) as one, pods(6) as two:
        for told in side_by_side(partial(refused, "threads", one, 0), partial(refused, "tasks", two, 3)):
            told.check("not retried: the time has expired")
            assert told.load.failed  # it was longer than a request waits
            assert set(told.service.executed().values()) == {1}
            assert sum(bool(one.pod) and one.attempts > 1 for one in told.load.answered) > RATE
            # Each begins with an attempt or two; then one dials, 20 times a second at most, for all who wait.
            assert sum(one.attempts for one in told.load.answered) < 3 * told.load.sent + 3 * 20 * told.lasted


def test_all_accept_and_drop() -> None:
    """What may have been processed is sent again: a share of all requests, and a few. That holds by the pods'
    own count; what more there was has failed, and says so.
    """

    def dropped(flavor: str, service: Pods) -> Outage:
        return outage(service, flavor, lambda: service.manner("drop"), lambda: service.manner("ok"), LONG)

    with pods(3) as one, pods(3) as two:
        for told in side_by_side(partial(dropped, "threads", one), partial(dropped, "tasks", two)):
            told.check("the retry budget is used up", "the limit is 3 attempts")
            # How much of it is used depends on how many requests the machine sends while the pods are out.
            assert len(told.service.requests) <= (1 + SHARE) * told.load.sent + FLOOR
            assert 1 < max(one.attempts for one in told.load.answered) <= 3
            assert told.load.answered[-1].pod  # it is over as soon as the pods are back


PEERS = [Peer(f"web-{i}", f"10.0.0.{i}", 80) for i in range(3)]


def spread(changed: bool) -> list[float]:
    """When those who waited in an outage of 10 s go to a pod, in seconds after it: sixty requests a second,
    with 5 s each. Either the set changes as it ends, or nobody is told.
    """
    chance, out = random.Random(1).random, 10.0
    due = [(n / 60, n) for n in range(600)]
    plans = {
        n: RetryState(
            RetryBudget(SHARE), deadline=begin + 5, attempts=3, is_idempotent=lambda: True, replayable=True
        )
        for begin, n in due
    }
    came: list[float] = []
    while due:
        now, n = heapq.heappop(due)
        plan = plans[n]
        if now >= out:
            came.append(now - out)
            continue
        while (peer := plan.choose(lambda: PEERS[0], lambda: PEERS, lambda _: False)) is not None:
            plan.record(FailedAttempt(peer, "refused", 0.0, False), AttemptOutcome.UNSENT, now)
        pause = plan.pause(now, PEERS, chance)
        if pause is None:
            continue  # it failed
        then = out + plan.spread(out, chance) if changed and now + pause >= out else now + pause
        if then < plan.deadline:
            heapq.heappush(due, (then, n))
    # Rounds of three pods, with the shortest pauses there are: half of 0.1 s, doubling to half of 1 s.
    assert max(len(plan.failed) for plan in plans.values()) <= 3 * 15
    return sorted(came)


@pytest.mark.parametrize(
    ("changed", "seconds", "most"),
    [(False, 0.02, 0.1), (False, 0.1, 0.25), (True, 0.02, 0.25), (True, 0.1, 0.67)],
)
def test_pods_that_are_back_are_not_trampled(changed: bool, seconds: float, most: float) -> None:
    """The largest part of those who waited that comes in so short a time."""
    came = spread(changed)
    assert len(came) > 250
    assert max(bisect(came, at + seconds) - n for n, at in enumerate(came)) < most * len(came)
