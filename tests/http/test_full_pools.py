"""Pools whose connections are all in use, or lost: another pod first, waiting last, and never for ever."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import httpcore
import httpx
import pytest

from peerdiscover import AsyncDiscovery
from peerdiscover.http import AsyncPodTransport

from ._flavors import SLOW, Web, web
from ._pods import Pod, pods

ONE = httpx.Limits(max_connections=1)


@contextmanager
def held(client: Web, flavor: str, pod: Pod) -> Iterator[None]:
    """The one connection to a pod is in use."""
    request = client.call(
        client.client.build_request, "GET", "http://web.prod/", extensions={"peer": pod.peer}
    )
    response = client.call(client.client.send, request, stream=True)
    yield
    client.call(response.close if flavor.startswith("threads") else response.aclose)


def test_another_pod_comes_first(flavor: str) -> None:
    with (
        pods(2) as service,
        web(flavor, service.source, limits=ONE) as client,
        held(client, flavor, service[0]),
    ):
        responses = [client.post(timeout=20) for _ in range(6)]
        assert {response.text[:5] for response in responses} == {"web-1"}
        assert [response.extensions["peerdiscover"]["attempts"] for response in responses] == [1] * 6


def test_a_full_pool_and_a_pod_that_refuses(flavor: str) -> None:
    """Nothing but the pool's time limits this request: it used to be tried for ever."""
    with (
        pods(2) as service,
        web(flavor, service.source, limits=ONE) as client,
        held(client, flavor, service[0]),
    ):
        service[1].refuse()
        timeout = client.api.Timeout(None, pool=0.2)
        with pytest.raises(client.api.PoolTimeout, match="full, or their pods cannot be reached"):
            client.get(timeout=timeout)
        assert len(service.requests) == 1
        assert "in a row" not in client.discovery.explain().split("web-1")[0]  # the full one is not blamed


async def cancel_many(client: httpx.AsyncClient, url: str = "http://web.prod/") -> None:
    for _ in range(20):
        tasks = [asyncio.ensure_future(client.get(url)) for _ in range(20)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def test_connections_that_cancelled_requests_lost(caplog: pytest.LogCaptureFixture) -> None:
    """httpcore 1.0.9 leaves them CONNECTING, and each later request would find the pool full."""

    async def story(source: Any) -> int:
        async with (
            AsyncDiscovery("web.prod", source=source, policy=SLOW) as discovery,
            httpx.AsyncClient(
                transport=AsyncPodTransport(discovery, limits=httpx.Limits(max_connections=5)), timeout=20
            ) as client,
        ):
            await cancel_many(client)
            for _ in range(4):
                assert (await client.get("http://web.prod/")).status_code == 200
            await cancel_many(client)
            return (await client.get("http://web.prod/")).status_code

    with pods(1) as service, caplog.at_level(logging.WARNING, "peerdiscover"):
        assert asyncio.run(story(service.source)) == 200
    replaced = [record for record in caplog.records if "replaced the connection pool" in record.message]
    assert len(replaced) == (1 if httpcore.__version__ == "1.0.9" else 0)  # once, however often it happens


@pytest.mark.anyio
async def test_httpcore_lost_count_of_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over HTTP/2 it releases a semaphore too often, after a cancellation: no error of the caller's."""
    from httpcore._synchronization import AsyncSemaphore

    handle = httpcore.AsyncConnectionPool.handle_async_request
    failures = [True]

    async def lose(self: Any, request: Any) -> Any:
        if failures:
            failures.pop()
            semaphore = AsyncSemaphore(1)
            await semaphore.acquire()
            await semaphore.release()
            await semaphore.release()
        return await handle(self, request)

    monkeypatch.setattr(httpcore.AsyncConnectionPool, "handle_async_request", lose)
    with pods(2) as service:
        async with (
            AsyncDiscovery("web.prod", source=service.source, policy=SLOW) as discovery,
            httpx.AsyncClient(transport=AsyncPodTransport(discovery), timeout=20) as client,
        ):
            response = await client.post("http://web.prod/")
            assert response.extensions["peerdiscover"]["attempts"] == 2
            assert "lost count" in response.extensions["peerdiscover"]["failed"][0].what
            assert discovery.status.next_refresh > 100  # no pod is to blame
            await anyio.lowlevel.checkpoint()
