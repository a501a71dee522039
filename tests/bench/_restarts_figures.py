"""What became of a load, in numbers. Nothing here waits, sends or draws."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from tests.http._load import Load

from ._restarts_run import CLIENTS, Run


class Line(NamedTuple):
    """One client's line of the table."""

    client: str
    requests: str
    failed: str
    gap: str
    p50: str
    p99: str
    p999: str
    busiest: str
    again: str
    late: str


HEAD = Line(
    "Client", "Requests", "Failed", "Longest gap", "p50", "p99", "p99.9", "Busiest pod", "Executed again",
    "Sent late",
)  # fmt: skip


def line(run: Run) -> Line:
    load = run.load
    p50, p99, p999 = (f"{load.latency(share) * 1e3:,.1f} ms" for share in (0.5, 0.99, 0.999))
    return Line(
        CLIENTS[run.client],
        f"{len(load.answered):,}",
        ": ".join((f"{len(load.failed):,}", *([", ".join(reasons(load))] if load.failed else []))),
        f"{gap(load):.2f} s",
        p50,
        p99,
        p999,
        f"{busiest(load):.2f}",
        f"{sum(n > 1 for n in run.executed.values()):,}",
        f"{load.late:,}",
    )


def nothing(client: str) -> Line:
    """The line of a client that did not get through."""
    return Line(CLIENTS[client], "did not get through", *[""] * (len(HEAD) - 2))


def reasons(load: Load) -> list[str]:
    """Why requests failed, the most frequent first: the class of the error, or the status."""
    counts = Counter(one.error.partition(":")[0] for one in load.failed)
    return [f"{n:,} {what}" for what, n in counts.most_common()]


def gap(load: Load) -> float:
    """The longest time, in seconds, in which no request was answered, the time before the first included."""
    ends = sorted(one.intended + one.latency for one in load.answered if not one.error)
    last = max((one.intended for one in load.answered), default=0.0)
    return max(b - a for a, b in pairwise([0.0, *ends, max([last, *ends[-1:]])]))


def by_second(load: Load) -> list[Counter[str]]:
    """How many of the requests that belong to each second each pod answered; "" are those that failed."""
    seconds = [Counter[str]() for _ in range(1 + int(max(one.intended for one in load.answered)))]
    for one in load.answered:
        seconds[int(one.intended)]["" if one.error else one.pod] += 1
    return seconds


def busiest(load: Load) -> float:
    """The busiest pod's share in a second, the median of all seconds in which anything was answered."""
    shares = []
    for second in by_second(load):
        counts = [n for pod, n in second.items() if pod]
        if counts:
            shares.append(max(counts) / sum(counts))
    return median(shares) if shares else 0.0


def sent_once(run: Run) -> int:
    """How many requests a client says to have sent once that were executed more often; it must be none."""
    attempts = {one.id: one.attempts for one in run.load.answered}
    return sum(n > 1 and attempts.get(key) == 1 for key, n in run.executed.items())


def lost(run: Run) -> int:
    """How many requests were answered though no pod has written them down; it must be none."""
    return sum(not one.error and one.id not in run.executed for one in run.load.answered)
