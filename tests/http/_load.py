"""A load with an open loop: requests have their times, whether or not earlier ones came back.

Latency counts from the time that was intended. Half of the requests are GETs, half are POSTs with an
Idempotency-Key; where `plain` ones are asked for, every fourth is a POST without.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Answered:
    """One request, and what became of it."""

    id: str
    intended: float
    """Seconds after the beginning."""
    latency: float
    pod: str = ""
    attempts: int = 0
    error: str = ""
    sent: int = 0
    """How many of its attempts may have reached a pod, as the client says."""
    plain: bool = False
    """Whether it must not be sent twice."""

    def took(self, response: Any) -> None:
        """The answer."""
        told = response.extensions.get("peerdiscover")
        self.pod = response.text
        self.attempts = told["attempts"] if told else 1
        self.sent = 1 + (sum(tried.sent for tried in told["failed"]) if told else 0)
        if response.status_code != 200:
            self.error = f"status {response.status_code}"

    def failed(self, error: Exception) -> None:
        """No answer."""
        notes = getattr(error, "__notes__", [])
        self.attempts = len(notes)
        self.sent = sum(note.endswith(", sent") for note in notes)
        self.error = f"{type(error).__name__}: {error}"


@dataclass
class Load:
    answered: list[Answered] = field(default_factory=list)
    """All requests, each with what became of it."""
    late: int = 0
    """How many were sent more than 50 ms after their time: the sender itself had too much to do."""
    sent: int = 0
    """How many there were."""

    @property
    def failed(self) -> list[Answered]:
        return [one for one in self.answered if one.error]

    def latency(self, share: float) -> float:
        """The latency that this share of all requests was within."""
        ordered = sorted(one.latency for one in self.answered)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)]

    def shares(self, since: float = 0.0, until: float = float("inf")) -> dict[str, float]:
        """Each pod's part of the requests that were answered in that time."""
        counts = Counter(a.pod for a in self.answered if a.pod and since <= a.intended < until)
        return {pod: n / counts.total() for pod, n in counts.most_common()}

    def told(self) -> str:
        """One line for people."""
        again = sum(one.attempts > 1 for one in self.answered)
        return (
            f"{len(self.answered)} requests, {len(self.failed)} failed, {again} sent again; "
            f"p50 {self.latency(0.5) * 1e3:.1f} ms, p99 {self.latency(0.99) * 1e3:.1f} ms, "
            f"p99.9 {self.latency(0.999) * 1e3:.0f} ms, longest {self.latency(1) * 1e3:.0f} ms"
        )


_ids = itertools.count()


async def load(
    client: Any,
    rate: float,
    over: Callable[[float, int], bool],
    url: str = "/",
    into: Load | None = None,
    *,
    plain: bool = False,
) -> Load:
    """Send `rate` requests a second until `over(seconds, count)`; all are waited for. What comes back is
    `into`, where that is given.
    """
    result, tasks = into or Load(), set()
    began = time.monotonic()

    async def one(n: int, intended: float) -> None:
        answered, method, headers = _request(n, intended, plain)
        try:
            answered.took(await client.request(method, url, headers=headers))
        except Exception as error:
            answered.failed(error)
        answered.latency = time.monotonic() - began - intended
        result.answered.append(answered)

    for n in itertools.count():
        intended = n / rate
        if over(intended, n):
            break
        early = began + intended - time.monotonic()
        await asyncio.sleep(max(0.0, early))  # who is late lets the others run, too
        result.late += early < -0.05
        result.sent += 1
        task = asyncio.create_task(one(n, intended))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    while tasks:
        await asyncio.gather(*tasks)
    return result


def load_in_threads(
    client: Any, rate: float, over: Callable[[float, int], bool], url: str = "/", *, plain: bool = False
) -> Load:
    """The same with a client for threads: each request has one, and there are enough for fifteen seconds'."""
    result = Load()
    began = time.monotonic()

    def one(n: int, intended: float) -> None:
        answered, method, headers = _request(n, intended, plain)
        try:
            answered.took(client.request(method, url, headers=headers))
        except Exception as error:
            answered.failed(error)
        answered.latency = time.monotonic() - began - intended
        result.answered.append(answered)

    with ThreadPoolExecutor(math.ceil(rate * 15)) as threads:
        for n in itertools.count():
            intended = n / rate
            if over(intended, n):
                break
            early = began + intended - time.monotonic()
            time.sleep(max(0.0, early))
            result.late += early < -0.05
            result.sent += 1
            threads.submit(one, n, intended)
    return result


def _request(n: int, intended: float, plain: bool) -> tuple[Answered, str, dict[str, str]]:
    """The nth one: what becomes of it, its method and its headers."""
    key = str(next(_ids))
    if n % 2 == 0:
        return Answered(key, intended, 0.0), "GET", {"id": key}
    if plain and n % 4 == 1:
        return Answered(key, intended, 0.0, plain=True), "POST", {"id": key}
    return Answered(key, intended, 0.0), "POST", {"id": key, "Idempotency-Key": key}
