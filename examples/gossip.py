"""Cache invalidation: notify every other pod, and repeat until all of them know. (asyncio)

Run it on this machine, where it starts its own pods, or in a cluster:

    python examples/gossip.py
    PEERS=cache-headless.prod:8080 python examples/gossip.py  # in a pod of that Service
"""

import asyncio
import os

import httpx

from peerdiscover import AsyncDiscovery, Identity, Peer, SourceLike
from peerdiscover.testing import HeadlessService


async def invalidate(cache: AsyncDiscovery, key: str, rounds: int = 5) -> set[str]:
    """Notify all other pods that `key` is stale, and return those that were reached."""
    reached: set[str] = set()
    async with httpx.AsyncClient(timeout=1) as client:

        async def notify(peer: Peer) -> None:
            if peer.key not in reached:
                response = await client.delete(peer.url(f"/cache/{key}"))
                response.raise_for_status()

        for _ in range(rounds):
            receipt = await cache.broadcast(notify)  # calls all pods but this one
            reached |= {peer.key for peer in receipt.results}
            if receipt.complete:  # no pod failed, and none joined meanwhile
                break
            for peer, error in receipt.errors.items():
                cache.report_failure(peer, error)  # looks it up at once: it may have moved
            await asyncio.sleep(1)
    return reached


async def main(service: str, source: SourceLike | None = None, me: Identity | None = None) -> None:
    # A pod needs no me=: its hostname or its address says which peer it is.
    async with AsyncDiscovery(service, source=source, me=me) as cache:
        print(f"this pod is {cache.peers.me}")
        for key in ("user-17", "user-18"):
            print(f"{key}: invalidated on {', '.join(sorted(await invalidate(cache, key)))}")


if __name__ == "__main__":
    if "PEERS" in os.environ:
        asyncio.run(main(os.environ["PEERS"]))
    else:
        with HeadlessService("cache-headless.prod", replicas=4, ports={"http": 8080}) as svc:
            asyncio.run(main("cache-headless.prod:http", svc.source, Identity(name="cache-0")))
