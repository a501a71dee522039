"""Requests that are cancelled at any of their steps: no line, no place in a pool and no lease is lost."""

from __future__ import annotations

import gc
import ssl
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from peerdiscover import AsyncDiscovery
from peerdiscover.http import AsyncPodTransport
from tests.tools.certificates import Authority
from tests.waiting import LONG

from ._flavors import SLOW
from ._http2 import Pods2
from ._pods import Pods, pods
from .test_connections import Counting


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"), "a CA of our own", complete=True)


@pytest.fixture
def context(authority: Authority, request: pytest.FixtureRequest) -> ssl.SSLContext:
    certificate, key = authority.sign(Path(request.node.name).stem[:40].replace("[", "-"), "DNS:web.prod")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    return server


async def cancelled_after(steps: int, client: httpx.AsyncClient, url: str, kept: bool) -> bool:
    """Whether a request, cancelled after so many turns of the event loop, had no answer yet."""
    if kept:
        await client.get(url)
    answered = False

    async def ask() -> None:
        nonlocal answered
        await client.get(url)
        answered = True

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        for _ in range(steps):
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    return not answered


@pytest.mark.anyio
@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("protocol", ["plain", "TLS", "HTTP/2 behind TLS"])
async def test_at_any_step(protocol: str, kept: bool, context: ssl.SSLContext, authority: Authority) -> None:
    """A new line that is cancelled just as it is there keeps its place in httpcore's pool, and ends with it:
    so whether the place is free is asked where the line was kept.
    """
    options: dict[str, Any] = {"limits": httpx.Limits(max_connections=1)}
    url = "http://web.prod/"
    service: AbstractContextManager[Pods] = pods(1)
    if protocol != "plain":
        options["verify"], url = ssl.create_default_context(cafile=authority.ca), "https://web.prod/"
        service = pods(1, context)
    if protocol.startswith("HTTP/2"):
        options["http2"] = True
        service = Pods2(1, context)
    with service as at:
        async with AsyncDiscovery("web.prod", source=at.source, policy=SLOW) as discovery:
            picker = Counting(lambda: discovery.peers)
            interrupted = answered = 0
            for steps in range(30):
                if answered == 3:
                    break  # it takes no more steps than that
                transport = AsyncPodTransport(discovery, picker=picker, **options)
                async with httpx.AsyncClient(transport=transport, timeout=LONG) as client:
                    cut = await cancelled_after(steps, client, url, kept)
                    interrupted, answered = interrupted + cut, answered + (not cut)
                    assert picker.in_flight == 0
                    if kept:
                        assert (await client.get(url)).status_code == 200  # the one place is free
            gc.collect()  # a line that was lost says so here
            assert interrupted
            for _ in range(at[0].accepted):
                assert await anyio.to_thread.run_sync(at[0].ended.acquire, True, LONG)
