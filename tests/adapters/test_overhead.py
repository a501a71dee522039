"""What a request over pods costs beside the bare library, as calls of Python functions: those can be counted.

`python -m tests.bench` measures the time.
"""

from __future__ import annotations

import asyncio
import gc
from functools import partial
from typing import Any

import aiohttp
import pytest
import requests

from peerdiscover import AsyncDiscovery, Discovery
from peerdiscover.aiohttp import pods as over
from peerdiscover.requests import PodAdapter
from tests.http._flavors import SLOW
from tests.http._pods import Pods, pods
from tests.http.test_overhead import URL, Calls, calls_of, calls_of_awaited


def in_threads(service: Pods) -> tuple[Calls, Calls]:
    with (
        Discovery("web.prod", source=service.source, policy=SLOW) as discovery,
        requests.Session() as over_pods,
        requests.Session() as plain,
    ):
        over_pods.mount("http://web.prod", PodAdapter(discovery))
        return calls_of(over_pods.get, plain.get, service)


async def get(session: aiohttp.ClientSession, url: str) -> None:
    async with session.get(url) as response:
        await response.read()


async def in_tasks(service: Pods) -> tuple[Calls, Calls]:
    async with (
        AsyncDiscovery("web.prod", source=service.source, policy=SLOW) as discovery,
        aiohttp.ClientSession(middlewares=[over(discovery)]) as over_pods,
        aiohttp.ClientSession() as plain,
    ):
        return await calls_of_awaited(partial(get, over_pods), partial(get, plain), service)


@pytest.mark.parametrize(("kind", "most", "share"), [("threads", 36, 1.05), ("tasks", 18, 1.18)])
def test_calls_of_a_request(kind: str, most: int, share: float) -> None:
    with pods(2) as service:
        calls: Any = in_threads(service) if kind == "threads" else asyncio.run(in_tasks(service))
    ours, theirs = calls
    assert sum(ours.ours.values()) <= most, ours.ours
    assert ours.all <= share * theirs.all


def test_a_request_of_aiohttp_leaves_no_work_to_the_garbage_collector() -> None:
    """It alone frees a request that refers to itself: that took a tenth of the time of a request."""

    async def run() -> int:
        async with (
            AsyncDiscovery("web.prod", source=service.source, policy=SLOW) as discovery,
            aiohttp.ClientSession(middlewares=[over(discovery)]) as session,
        ):
            await get(session, URL)
            gc.collect()
            gc.disable()
            try:
                for _ in range(10):
                    await get(session, URL)
                return gc.collect()
            finally:
                gc.enable()

    with pods(1) as service:
        assert asyncio.run(run()) < 10
