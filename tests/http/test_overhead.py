"""What a request over pods costs beside plain httpx, as calls of Python functions: those can be counted.

`python -m tests.bench` measures the time.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import Any, Self

import httpx
import pytest

import peerdiscover
from peerdiscover import AsyncDiscovery, Discovery
from peerdiscover.http import AsyncPodTransport, PodTransport

from ._flavors import SLOW
from ._pods import Pods, pods

URL = "http://web.prod/"
OURS = str(Path(peerdiscover.__file__).parent)


class Calls:
    """Counts the calls of Python functions in this thread: of ours by name, and of all.

    What an earlier test left to the garbage collector is not collected meanwhile, and does not count.
    """

    def __enter__(self) -> Self:
        self.ours: Counter[str] = Counter()
        self.all = 0
        gc.collect()
        gc.disable()
        sys.setprofile(self._count)
        return self

    def _count(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            self.all += 1
            if frame.f_code.co_filename.startswith(OURS):
                self.ours[frame.f_code.co_qualname] += 1

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        gc.enable()


def calls_of(
    over_pods: Callable[[str], object], plain: Callable[[str], object], service: Pods
) -> tuple[Calls, Calls]:
    """The calls of one request over pods, and of one to a pod by the library alone."""
    to_pod = f"http://{service[0].address}:{service[0].port}/"
    for _ in range(4):  # connections are made, and what is kept is kept
        over_pods(URL)
        plain(to_pod)
    with Calls() as ours:
        over_pods(URL)
    with Calls() as theirs:
        plain(to_pod)
    return ours, theirs


async def calls_of_awaited(
    over_pods: Callable[[str], Awaitable[object]], plain: Callable[[str], Awaitable[object]], service: Pods
) -> tuple[Calls, Calls]:
    to_pod = f"http://{service[0].address}:{service[0].port}/"
    for _ in range(4):
        await over_pods(URL)
        await plain(to_pod)
    with Calls() as ours:
        await over_pods(URL)
    with Calls() as theirs:
        await plain(to_pod)
    return ours, theirs


def in_threads(service: Pods) -> tuple[Calls, Calls]:
    with (
        Discovery("web.prod", source=service.source, policy=SLOW) as discovery,
        httpx.Client(transport=PodTransport(discovery)) as over_pods,
        httpx.Client() as plain,
    ):
        return calls_of(over_pods.get, plain.get, service)


async def in_tasks(service: Pods) -> tuple[Calls, Calls]:
    async with (
        AsyncDiscovery("web.prod", source=service.source, policy=SLOW) as discovery,
        httpx.AsyncClient(transport=AsyncPodTransport(discovery)) as over_pods,
        httpx.AsyncClient() as plain,
    ):
        return await calls_of_awaited(over_pods.get, plain.get, service)


@pytest.mark.parametrize(("kind", "most"), [("threads", 34), ("tasks", 41)])
def test_calls_of_a_request(kind: str, most: int) -> None:
    with pods(2) as service:
        calls: Any = in_threads(service) if kind == "threads" else asyncio.run(in_tasks(service))
    ours, theirs = calls
    assert sum(ours.ours.values()) <= most, ours.ours
    assert ours.all <= 1.05 * theirs.all
