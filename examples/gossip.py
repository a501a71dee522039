"""Cache invalidation: tell every pod but this one, and go on until everybody was told. (asyncio)

Run it with pods of its own on this machine, or in a cluster:

    python examples/gossip.py
    PEERS=cache-headless.prod:8080 python examples/gossip.py  # in a pod of that Service
"""

import asyncio
import os

import httpx

from peerdiscover import AsyncDiscovery, Identity, Peer, SourceLike
from peerdiscover.testing import HeadlessService


async def invalidate(cache: AsyncDiscovery, key: str, rounds: int = 5) -> set[str]:
    """Tell everybody else that `key` is stale, over and over; who was told in the end."""
    told: set[str] = set()
    async with httpx.AsyncClient(timeout=1) as client:

        async def tell(peer: Peer) -> None:
            if peer.key not in told:
                response = await client.delete(peer.url(f"/cache/{key}"))
                response.raise_for_status()

        for _ in range(rounds):
            receipt = await cache.broadcast(tell)  # everybody but oneself
            told |= {peer.key for peer in receipt.results}
            if receipt.complete:  # nobody failed, and nobody joined while it ran
                break
            for peer, error in receipt.errors.items():
                cache.report_failure(peer, error)  # DNS is asked at once: it may be gone, or elsewhere
            await asyncio.sleep(1)
    return told


async def main(service: str, source: SourceLike | None = None, me: Identity | None = None) -> None:
    # In a pod nothing has to be said about oneself: its hostname or its address tells.
    async with AsyncDiscovery(service, source=source, me=me) as cache:
        print(f"this pod is {cache.peers.me}")
        for key in ("user-17", "user-18"):
            print(f"{key}: told {', '.join(sorted(await invalidate(cache, key)))}")


if __name__ == "__main__":
    if "PEERS" in os.environ:
        asyncio.run(main(os.environ["PEERS"]))
    else:
        with HeadlessService("cache-headless.prod", replicas=4, ports={"http": 8080}) as svc:
            asyncio.run(main("cache-headless.prod:http", svc.source, Identity(name="cache-0")))
