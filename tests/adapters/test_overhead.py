"""What a request over pods costs beside the bare library, as calls of Python functions: those can be counted.

`python -m tests.bench` measures the time.
"""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import aiohttp
import pytest
import requests

from peerdiscover import AsyncDiscovery, Discovery
from peerdiscover.aiohttp import pods as over
from peerdiscover.requests import PodAdapter
from tests.http._flavors import SLOW
from tests.http._pods import Pods, pods
from tests.http.test_overhead import Calls


def in_threads(service: Pods) -> tuple[Calls, Calls]:
    with (
        Discovery("web.prod", source=service.source, policy=SLOW) as discovery,
        requests.Session() as over_pods,
        requests.Session() as plain,
    ):
        over_pods.mount("http://web.prod", PodAdapter(discovery))
        for _ in range(4):  # connections are made, and what is kept is kept
            over_pods.get("http://web.prod/")
            plain.get(f"http://{service[0].address}:{service[0].port}/")
        with Calls() as ours:
            over_pods.get("http://web.prod/")
        with Calls() as theirs:
            plain.get(f"http://{service[0].address}:{service[0].port}/")
    return ours, theirs


async def get(session: aiohttp.ClientSession, url: str) -> None:
    async with session.get(url) as response:
        await response.read()


async def in_tasks(service: Pods) -> tuple[Calls, Calls]:
    async with (
        AsyncDiscovery("web.prod", source=service.source, policy=SLOW) as discovery,
        aiohttp.ClientSession(middlewares=[over(discovery)]) as over_pods,
        aiohttp.ClientSession() as plain,
    ):
        for _ in range(4):
            await get(over_pods, "http://web.prod/")
            await get(plain, f"http://{service[0].address}:{service[0].port}/")
        with Calls() as ours:
            await get(over_pods, "http://web.prod/")
        with Calls() as theirs:
            await get(plain, f"http://{service[0].address}:{service[0].port}/")
    return ours, theirs


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
            await get(session, "http://web.prod/")
            gc.collect()
            gc.disable()
            try:
                for _ in range(10):
                    await get(session, "http://web.prod/")
                return gc.collect()
            finally:
                gc.enable()

    with pods(1) as service:
        assert asyncio.run(run()) < 10
