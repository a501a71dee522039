"""What a request over pods costs with requests and aiohttp, beside the bare library, with one pod and 300."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import aiohttp
import requests

from peerdiscover import AsyncDiscovery, Discovery
from peerdiscover.aiohttp import pods
from peerdiscover.requests import PodAdapter

from . import _turns
from ._requests import MANY, REQUESTS, ROUNDS, named, server


def figures() -> Iterator[tuple[str, str, str]]:
    with server() as port:
        measured = ("requests", threads(port)), ("aiohttp", asyncio.run(tasks(port)))
    for library, (plain, one, many) in measured:
        yield f"a request, {library} (processor time)", f"{plain * 1e6:.0f} µs", ""
        yield f"… over one pod, against {library}", f"{one:.2f} ×", "≤ 1.10 ×"
        yield f"… over {MANY} pods, against one", f"{many:.2f} ×", "≤ 1.1 ×"


def threads(port: int) -> _turns.Costs:
    """Seconds of the processor for a request; one pod against that; many pods against one."""
    with (
        Discovery(named(1, port)) as one,
        Discovery(named(MANY, port)) as many,
        requests.Session() as plain,
        requests.Session() as over_one,
        requests.Session() as over_many,
    ):
        over_one.mount("http://static", PodAdapter(one))
        over_many.mount("http://static", PodAdapter(many))
        turns: list[Callable[[], object]] = [
            lambda: plain.get(f"http://127.9.0.1:{port}/"),
            lambda: over_one.get(f"http://static:{port}/"),
            lambda: over_many.get(f"http://static:{port}/"),
        ]
        return _turns.threads(turns, ROUNDS, REQUESTS, MANY)


async def tasks(port: int) -> _turns.Costs:
    """The same, of aiohttp."""
    async with (
        AsyncDiscovery(named(1, port)) as one,
        AsyncDiscovery(named(MANY, port)) as many,
        aiohttp.ClientSession() as plain,
        aiohttp.ClientSession(middlewares=[pods(one)]) as over_one,
        aiohttp.ClientSession(middlewares=[pods(many)]) as over_many,
    ):

        async def get(session: aiohttp.ClientSession, host: str) -> None:
            async with session.get(f"http://{host}:{port}/") as response:
                await response.read()

        turns: list[Callable[[], Awaitable[object]]] = [
            lambda: get(plain, "127.9.0.1"),
            lambda: get(over_one, "static"),
            lambda: get(over_many, "static"),
        ]
        return await _turns.tasks(turns, ROUNDS, REQUESTS, MANY)
