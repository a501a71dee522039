"""HTTP over the pods of a service: httpx's client with another host. It survives a pod that dies.

Run it on this machine, where it starts its own pods, or in a cluster:

    python examples/http_client.py
    PEERS=web-headless.prod:8080 python examples/http_client.py
"""

import asyncio
import os
from collections.abc import Callable

from peerdiscover import SourceLike
from peerdiscover.http import AsyncClient, Client
from peerdiscover.testing import HeadlessService


def main(
    service: str, source: SourceLike | None = None, incident: Callable[[], object] = lambda: None
) -> None:
    with Client(service, source=source, timeout=5) as web:  # was: httpx.Client(base_url=…)
        for n in range(6):
            if n == 3:
                incident()
            # If a pod refuses the connection, any request goes to another one. If it may have processed the
            # request, only an idempotent one does, or one that has a key like this.
            response = web.post("/orders", json={"n": n}, headers={"Idempotency-Key": f"order-{n}"})
            info = response.extensions["peerdiscover"]
            print(f"{info['peer'].key}: {response.status_code} at attempt {info['attempts']}")


async def asynchronous(service: str, source: SourceLike | None = None) -> None:
    async with AsyncClient(service, source=source, timeout=5) as web:
        receipt = await web.broadcast("POST", "/invalidate", timeout=5)  # once to every pod
        print("invalidated on", *(peer.key for peer in receipt.results))


if __name__ == "__main__":
    if "PEERS" in os.environ:
        main(os.environ["PEERS"])
        asyncio.run(asynchronous(os.environ["PEERS"]))
    else:
        with HeadlessService("web-headless.prod", replicas=3, ports={"http": 8080}) as svc:
            main("web-headless.prod:http", svc.source, lambda: svc.remove(1))
            asyncio.run(asynchronous("web-headless.prod:http", svc.source))
