"""The same program in a cluster and on a laptop: one setting names the pods.

Run it:

    PEERS=web-headless.prod:8080 python examples/laptop.py                          # in a cluster
    PEERS=static:127.0.0.1:8001,127.0.0.1:8002 python examples/laptop.py            # on a laptop
    PEERS=static:db-0=127.0.0.1:8001,db-1=127.0.0.1:8002 python examples/laptop.py  # with hostnames
    python examples/laptop.py                           # starts two servers, and sets static: itself
"""

import os

import httpx

from peerdiscover import Discovery
from peerdiscover.testing import HeadlessService


def main(service: str) -> None:
    """The program. It does not depend on where it runs."""
    with Discovery(service) as web:
        print(f"{len(web.peers)} peers, {web.peers.kind}")
        receipt = web.broadcast(lambda peer: httpx.get(peer.url("/healthz"), timeout=2).status_code)
        for peer, outcome in (*receipt.results.items(), *receipt.errors.items()):
            print(f"{peer.key}: {outcome!r}")


if __name__ == "__main__":
    if "PEERS" in os.environ:
        main(os.environ["PEERS"])
    else:
        with HeadlessService("web-headless.prod", replicas=2) as svc:
            main("static:" + ",".join(peer.hostport for peer in svc.peers))
