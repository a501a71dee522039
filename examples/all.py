"""Connect to all: call every pod at once, and get a receipt of the results. (asyncio)

Run it on this machine, where it starts its own pods, or in a cluster:

    python examples/all.py
    PEERS=web-headless.prod:8080 python examples/all.py
"""

import asyncio
import os

import httpx

from peerdiscover import AsyncDiscovery, Peer, SourceLike
from peerdiscover.testing import HeadlessService


async def main(service: str, source: SourceLike | None = None) -> None:
    async with AsyncDiscovery(service, source=source) as web, httpx.AsyncClient() as client:

        async def reload(peer: Peer) -> int:
            response = await client.post(peer.url("/reload"))
            return response.raise_for_status().status_code

        receipt = await web.broadcast(reload, timeout=2, limit=10)
        for peer, status in receipt.results.items():
            print(f"{peer.key}: {status}")
        for peer, error in receipt.errors.items():  # includes pods that took more than 2 s
            print(f"{peer.key}: {error!r}")
        print(f"set of generation {receipt.generation}:", "complete" if receipt.complete else "incomplete")


if __name__ == "__main__":
    if "PEERS" in os.environ:
        asyncio.run(main(os.environ["PEERS"]))
    else:
        with HeadlessService("web-headless.prod", replicas=3, ports={"http": 8080}) as svc:
            svc.blackhole(1)  # like a node that was lost: DNS still has the pod, but it does not answer
            asyncio.run(main("web-headless.prod:http", svc.source))
