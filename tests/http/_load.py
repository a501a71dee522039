"""A load with an open loop: requests have their times, whether or not earlier ones came back.

Latency counts from the time that was intended. Half of the requests are GETs, half are POSTs with an
Idempotency-Key.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable
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


@dataclass
class Load:
    answered: list[Answered] = field(default_factory=list)
    late: int = 0
    """How many were sent more than 50 ms after their time: the sender itself had too much to do."""

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
    client: Any, rate: float, over: Callable[[float, int], bool], url: str = "/", into: Load | None = None
) -> Load:
    """Send `rate` requests a second until `over(seconds, count)`; all are waited for. What comes back is
    `into`, where that is given.
    """
    result, tasks = into or Load(), set()
    began = time.monotonic()

    async def one(n: int, intended: float) -> None:
        answered = Answered(str(next(_ids)), intended, 0.0)
        method, headers = "GET", {"id": answered.id}
        if n % 2:
            method, headers["Idempotency-Key"] = "POST", answered.id
        try:
            response = await client.request(method, url, headers=headers)
            told = response.extensions.get("peerdiscover")
            answered.pod = response.text
            answered.attempts = told["attempts"] if told else 1
            if response.status_code != 200:
                answered.error = f"status {response.status_code}"
        except Exception as error:
            answered.error = f"{type(error).__name__}: {error}"
        answered.latency = time.monotonic() - began - intended
        result.answered.append(answered)

    for n in itertools.count():
        intended = n / rate
        if over(intended, n):
            break
        early = began + intended - time.monotonic()
        await asyncio.sleep(max(0.0, early))  # who is late lets the others run, too
        result.late += early < -0.05
        task = asyncio.create_task(one(n, intended))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    while tasks:
        await asyncio.gather(*tasks)
    return result
