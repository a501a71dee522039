"""aiohttp over pods: through a resolver, which is simple, or by address, which balances requests.

Run it on this machine, where it starts its own pods, or in a cluster:

    python examples/http_aiohttp.py
    PEERS=web-headless.prod:8080 python examples/http_aiohttp.py
"""

import asyncio
import os
import socket

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from peerdiscover import AsyncDiscovery, SourceLike
from peerdiscover.testing import HeadlessService


class Pods(AbstractResolver):
    """Gives aiohttp two pods of one service for any host; aiohttp tries one after the other."""

    def __init__(self, discovery: AsyncDiscovery) -> None:
        self.turns = discovery.round_robin()

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:  # noqa: ARG002
        # fmt: off
        return [{"hostname": host, "host": peer.address, "port": peer.port or port, "proto": 0,
                 "flags": socket.AI_NUMERICHOST,
                 "family": socket.AF_INET6 if ":" in peer.address else socket.AF_INET}
                for peer in (self.turns.pick(), self.turns.pick())]
        # fmt: on

    async def close(self) -> None:
        pass


async def main(service: str, source: SourceLike | None = None) -> None:
    async with AsyncDiscovery(service, source=source) as web:
        # aiohttp keeps connections by host, so without force_close the first pod would get all requests.
        connector = aiohttp.TCPConnector(resolver=Pods(web), use_dns_cache=False, force_close=True)
        async with aiohttp.ClientSession(connector=connector) as session:
            for _ in range(3):
                async with session.get("http://web-headless/resolved") as response:
                    print("resolved:", (await response.json())["pod"])
        async with aiohttp.ClientSession() as session:  # each pod has its own kept connections
            for _ in range(3):
                peer = web.round_robin().pick()
                async with session.get(peer.url("/by-address"), headers={"Host": "web-headless"}) as response:
                    print("by address:", (await response.json())["pod"])


if __name__ == "__main__":
    if "PEERS" in os.environ:
        asyncio.run(main(os.environ["PEERS"]))
    else:
        with HeadlessService("web-headless.prod", replicas=3, ports={"http": 8080}) as svc:
            asyncio.run(main("web-headless.prod:http", svc.source))
