"""aiohttp over pods: the session of a program, with one middleware more.

Run it on this machine, where it starts its own pods, or in a cluster:

    python examples/http_aiohttp.py
    PEERS=web-headless.prod:8080 python examples/http_aiohttp.py
"""

import asyncio
import os

import aiohttp

from peerdiscover import AsyncDiscovery, SourceLike
from peerdiscover.aiohttp import pods
from peerdiscover.testing import HeadlessService


async def main(service: str, source: SourceLike | None = None, svc: HeadlessService | None = None) -> None:
    async with (
        AsyncDiscovery(service, source=source) as web,
        aiohttp.ClientSession("http://web-headless", middlewares=[pods(web, total_timeout=5)]) as session,
    ):
        for n in range(6):
            if svc and n == 3:
                svc.replace(0)  # its connections break, and its address is another one
            async with session.get("/hello") as response:
                print("GET", response.url, (await response.json())["pod"])
        async with session.post("/orders", data=b"1", headers={"Idempotency-Key": "order-1"}) as response:
            print("POST", response.url, (await response.json())["pod"])


if __name__ == "__main__":
    if "PEERS" in os.environ:
        asyncio.run(main(os.environ["PEERS"]))
    else:
        with HeadlessService("web-headless.prod", replicas=3, ports={"http": 8080}) as svc:
            asyncio.run(main("web-headless.prod:http", svc.source, svc))
