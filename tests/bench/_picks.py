"""What a pick costs, by each picker, and whether the shares stay equal while the set changes."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from itertools import cycle, repeat
from statistics import median
from time import perf_counter
from typing import NamedTuple

from peerdiscover import Discovery, Peer, PeerSet
from peerdiscover.peers import View
from peerdiscover.pickers import LeastRequests, RoundRobin

ROUNDS, PICKS = 301, 20_000


class Bare:
    """The least that a method can do."""

    __slots__ = ("_next",)

    def __init__(self, peers: tuple[Peer, ...]) -> None:
        self._next = cycle(peers)

    def pick(self) -> Peer:
        return next(self._next)


class Cost(NamedTuple):
    """Of one pick."""

    ratio: float
    """Against `next(itertools.cycle)` in a method."""
    seconds: float
    whole: float
    """Seconds of `web.round_robin().pick()`, which is what a handler writes."""


def cost(rounds: int = ROUNDS) -> Cost:
    """What a pick of ten peers costs."""
    with Discovery("static:" + ",".join(f"10.0.0.{i}:80" for i in range(1, 11))) as web:
        ours, bare = web.round_robin().pick, Bare(tuple(web.peers)).pick
        ratios, times = [], []
        for turn in range(rounds):
            # By turns first: what a machine does between the two is in neither's favour.
            first, second = (ours, bare) if turn % 2 else (bare, ours)
            a, b = _seconds(first), _seconds(second)
            mine, theirs = (a, b) if turn % 2 else (b, a)
            ratios.append(mine / theirs)
            times.append(mine / PICKS)
        return Cost(median(ratios), median(times), _median(lambda: web.round_robin().pick()))


def figures() -> Iterator[tuple[str, str, str]]:
    pick = cost()
    yield "pick, against next(itertools.cycle) in a method", f"{pick.ratio:.2f} ×", "≤ 1.1 ×"
    yield "pick", f"{pick.seconds * 1e9:.0f} ns", ""
    yield "web.round_robin().pick()", f"{pick.whole * 1e9:.0f} ns", ""
    yield from _others()
    fewest, most = _shares()
    yield "picks of those who stay through 100 changes", f"{fewest}–{most} of 500", "equal, ± 1"


def _others() -> Iterator[tuple[str, str, str]]:
    """The pickers that do more than take turns. Rendezvous looks at every peer."""
    for count in 10, 300:
        entries = ",".join(f"web-{i}=10.0.{i // 200}.{i % 200 + 1}:80" for i in range(count))
        with Discovery("static:" + entries) as web:
            least, owner = web.least_requests(), web.rendezvous()

            def lease(least: LeastRequests = least) -> None:
                with least.lease():
                    pass

            yield f"least_requests: a lease, of {count}", f"{_median(lease) * 1e9:.0f} ns", ""
            pick = partial(owner.pick, "user:1")
            yield f"rendezvous, of {count}", f"{_median(pick, 2000) * 1e6:.1f} µs", ""
            if count == 300:
                subset = web.subset(10).pick
                yield "subset(10), of 300", f"{_median(subset) * 1e9:.0f} ns", "as round_robin"


def _median(call: Callable[[], object], times: int = PICKS) -> float:
    """Seconds for one call."""
    return median(_seconds(call, times) / times for _ in range(21))


def _seconds(pick: Callable[[], object], times: int = PICKS) -> float:
    began = perf_counter()
    for _ in repeat(None, times):
        pick()
    return perf_counter() - began


def _shares() -> tuple[int, int]:
    """Two stay, six others are others each time; eight in all, each is due five times a set."""
    picker, shares = RoundRobin(), Counter[str]()
    for _ in range(100):
        numbers = [0, 1, *random.sample(range(2, 40), 6)]
        peers = [Peer(f"web-{i}", f"10.0.0.{i}", 80, hostname=f"web-{i}") for i in numbers]
        picker.rebind(View(PeerSet("web", peers)))
        shares.update(picker.pick().key for _ in range(8 * 5))
    stayed = (shares["web-0"], shares["web-1"])
    return min(stayed), max(stayed)
