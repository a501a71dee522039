"""Connect to one: each request goes to the next pod in turn.

Run it on this machine, where it starts its own pods, or in a cluster:

    python examples/one.py
    PEERS=web-headless.prod:8080 python examples/one.py
"""

import os

import httpx

from peerdiscover import Discovery, SourceLike
from peerdiscover.testing import HeadlessService


def main(service: str, source: SourceLike | None = None) -> None:
    with Discovery(service, source=source) as web:  # waits until there are pods, or raises
        turns = web.round_robin()
        for _ in range(6):
            peer = turns.pick()  # does not wait, and never picks a pod that left
            response = httpx.get(peer.url("/hello"), timeout=2)
            print(f"{peer.key}: {response.status_code} {response.text.strip()[:60]}")


if __name__ == "__main__":
    if "PEERS" in os.environ:
        main(os.environ["PEERS"])
    else:
        with HeadlessService("web-headless.prod", replicas=3, ports={"http": 8080}) as svc:
            main("web-headless.prod:http", svc.source)
