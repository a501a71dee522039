"""What a request over pods costs beside plain httpx, with one pod and 300; and one slow pod among four."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from time import process_time
from typing import Any

import httpx

from peerdiscover import AsyncDiscovery, Discovery
from peerdiscover.http import AsyncPodTransport, PodTransport
from tests.http._load import Load, load

from . import _turns

ROUNDS, REQUESTS, MANY = 40, 150, 300
SECONDS = 6.0
CROWDED, QUIET = 160.0, 60.0  # requests a second for four pods, of which the slow one can answer 20

# One server for all pods. It answers one request at a time for each address, which takes as many
# milliseconds as the table says.
_SERVER = """
import asyncio, sys
slow = {address: float(ms) / 1000 for address, ms in (pair.split("=") for pair in sys.argv[1:])}
free = {}
class Pod(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        self.address = transport.get_extra_info("sockname")[0]
    def data_received(self, data):
        if not data.endswith(b"\\r\\n\\r\\n"):
            return
        if not slow:
            return self.answer()
        loop = asyncio.get_running_loop()
        at = max(free.get(self.address, 0), loop.time()) + slow[self.address]
        free[self.address] = at
        loop.call_at(at, self.answer)
    def answer(self):
        self.transport.write(b"HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\nok")
async def main():
    server = await asyncio.get_running_loop().create_server(Pod, "0.0.0.0", 0, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


def server(*slow: str) -> AbstractContextManager[int]:
    """The port on which all of 127.0.0.0/8 answers."""
    return _turns.server(_SERVER, *slow)


def addresses(number: int) -> list[str]:
    return [f"127.9.{i // 200}.{i % 200 + 1}" for i in range(number)]


def named(number: int, port: int) -> str:
    return "static:" + ",".join(f"web-{i}={a}:{port}" for i, a in enumerate(addresses(number)))


def figures() -> Iterator[tuple[str, str, str]]:
    with server() as port:
        for what, (plain, one, many) in ("httpx", threads(port)), ("httpx, async", asyncio.run(tasks(port))):
            yield f"a request, {what} (processor time)", f"{plain * 1e6:.0f} µs", ""
            yield "… over one pod, against httpx", f"{one:.2f} ×", "≤ 1.05 ×"
            yield f"… over {MANY} pods, against one", f"{many:.2f} ×", "≤ 1.1 ×"
        yield f"a request of plain httpx to {MANY} hosts in turn", f"{_plain_to_many(port) * 1e3:.1f} ms", ""
    table = [f"{address}={ms}" for address, ms in zip(addresses(4), (5, 5, 5, 50), strict=True)]
    for rate, means in (CROWDED, "more than its share"), (QUIET, "less than its share"):
        loads = []
        for name in "round_robin", "least_requests":
            with server(*table) as port:
                loads.append(asyncio.run(_one_slow(port, name, rate)))
        robin, least = (one.latency(0.99) for one in loads)
        yield (
            f"one pod of four ten times slower, {rate:.0f} requests a second ({means}): p99, round robin",
            f"{robin * 1e3:.0f} ms",
            "",
        )
        yield "… least requests, against it", f"{least / robin:.2f} ×", "≤ 0.5 ×" if rate == CROWDED else ""


def threads(port: int, rounds: int = ROUNDS) -> _turns.Costs:
    """Seconds of the processor for a request of plain httpx; one pod against that; many pods against one."""
    with (
        Discovery(named(1, port)) as one,
        Discovery(named(MANY, port)) as many,
        httpx.Client() as plain,
        httpx.Client(transport=PodTransport(one)) as over_one,
        httpx.Client(transport=PodTransport(many)) as over_many,
    ):
        turns: list[Callable[[], object]] = [
            lambda: plain.get(f"http://127.9.0.1:{port}/"),
            lambda: over_one.get(f"http://static:{port}/"),
            lambda: over_many.get(f"http://static:{port}/"),
        ]
        return _turns.threads(turns, rounds, REQUESTS, MANY)


async def tasks(port: int, rounds: int = ROUNDS) -> _turns.Costs:
    """The same, asynchronously."""
    async with (
        AsyncDiscovery(named(1, port)) as one,
        AsyncDiscovery(named(MANY, port)) as many,
        httpx.AsyncClient() as plain,
        httpx.AsyncClient(transport=AsyncPodTransport(one)) as over_one,
        httpx.AsyncClient(transport=AsyncPodTransport(many)) as over_many,
    ):
        turns: list[Callable[[], Awaitable[object]]] = [
            lambda: plain.get(f"http://127.9.0.1:{port}/"),
            lambda: over_one.get(f"http://static:{port}/"),
            lambda: over_many.get(f"http://static:{port}/"),
        ]
        return await _turns.tasks(turns, rounds, REQUESTS, MANY)


def _plain_to_many(port: int) -> float:
    urls = [f"http://{address}:{port}/" for address in addresses(MANY)]
    with httpx.Client(limits=httpx.Limits(max_connections=MANY, max_keepalive_connections=MANY)) as client:
        for url in urls:
            client.get(url)
        begun = process_time()
        for n in range(100):
            client.get(urls[n])
        return (process_time() - begun) / 100


async def _one_slow(port: int, picker: str, rate: float) -> Load:
    async with AsyncDiscovery(named(4, port)) as discovery:
        chosen: Any = getattr(discovery, picker)()
        transport = AsyncPodTransport(discovery, picker=chosen)
        async with httpx.AsyncClient(transport=transport, timeout=60) as client:
            return await load(client, rate, lambda seconds, _: seconds > SECONDS, f"http://static:{port}/")
