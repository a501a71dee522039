"""Connect to many: keep one connection to each pod as long as it exists. (asyncio)

Run it on this machine, where it starts its own pods, or in a cluster:

    python examples/many.py
    PEERS=web-headless.prod:8080 python examples/many.py  # ends after a quiet minute
"""

import asyncio
import os

from peerdiscover import AsyncDiscovery, Peer, SourceLike
from peerdiscover.testing import HeadlessService


async def hold(peer: Peer, web: AsyncDiscovery) -> None:
    """Keep one connection to `peer` open, until this task is cancelled."""
    while True:
        try:
            reader, writer = await asyncio.open_connection(*peer.sockaddr)
            print(f"connected to {peer.key} at {peer.hostport}")
            try:
                await reader.read()  # returns when the pod closes the connection
            finally:
                writer.close()
        except OSError as error:
            web.report_failure(peer, error)  # looks it up at once: the pod may have moved
        await asyncio.sleep(1)


async def main(
    service: str, source: SourceLike | None = None, quiet: float = 60, svc: HeadlessService | None = None
) -> None:
    tasks: dict[str, asyncio.Task[None]] = {}
    async with AsyncDiscovery(service, source=source) as web, asyncio.TaskGroup() as group:
        async for change in web.changes(timeout=quiet):  # the first change adds all pods
            print(change)
            for peer in (*change.removed, *(old for old, _ in change.moved)):
                tasks.pop(peer.key).cancel()
            for peer in (*change.added, *(new for _, new in change.moved)):
                tasks[peer.key] = group.create_task(hold(peer, web))
            if svc is not None and change.before.generation == 0:
                await asyncio.sleep(0.5)
                svc.scale(4)  # as `kubectl scale` does
                svc.replace(0)  # a pod that is restarted gets a new address
        for task in tasks.values():
            task.cancel()


if __name__ == "__main__":
    if "PEERS" in os.environ:
        asyncio.run(main(os.environ["PEERS"]))
    else:
        with HeadlessService("web-headless.prod", replicas=3, ports={"http": 8080}, ttl=1) as service:
            asyncio.run(main("web-headless.prod:http", service.source, 3, service))
