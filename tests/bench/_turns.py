"""What a request costs in several ways, in turns: each against the one before it, in the same round.

What a machine does between two rounds is in no one's favour.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from statistics import median
from time import process_time

Costs = list[float]
"""Seconds of the processor for one request of the first way; then each way against the one before it."""


@contextmanager
def server(program: str, *args: str) -> Iterator[int]:
    """A process that runs this program, and prints the port that it listens on."""
    process = subprocess.Popen([sys.executable, "-c", program, *args], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def threads(ways: Sequence[Callable[[], object]], rounds: int, requests: int, connections: int = 1) -> Costs:
    """So many rounds of so many requests, when each way has made its connections."""
    for way in ways:
        for _ in range(connections):
            way()
    times: list[list[float]] = [[] for _ in ways]
    for which in _turns(len(ways), rounds):
        begun = process_time()
        for _ in range(requests):
            ways[which]()
        times[which].append((process_time() - begun) / requests)
    return _costs(times)


async def tasks(
    ways: Sequence[Callable[[], Awaitable[object]]], rounds: int, requests: int, connections: int = 1
) -> Costs:
    """The same, of what is awaited."""
    for way in ways:
        for _ in range(connections):
            await way()
    times: list[list[float]] = [[] for _ in ways]
    for which in _turns(len(ways), rounds):
        begun = process_time()
        for _ in range(requests):
            await ways[which]()
        times[which].append((process_time() - begun) / requests)
    return _costs(times)


def _turns(ways: int, rounds: int) -> Iterator[int]:
    for first in range(rounds):
        yield from ((first + turn) % ways for turn in range(ways))


def _costs(times: list[list[float]]) -> Costs:
    ratios = (median(b / a for a, b in zip(*pair, strict=True)) for pair in pairwise(times))
    return [median(times[0]), *ratios]
