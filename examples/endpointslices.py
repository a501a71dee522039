"""Pods from the API server, with their zones; from DNS while the API server is unavailable.

Run it on this machine, where it falls back to DNS, or in a cluster:

    python examples/endpointslices.py
    PEERS=auto:web-headless.prod:http python examples/endpointslices.py

In a cluster the pod needs the ServiceAccount of examples/manifests/read-endpointslices.yaml.
"""

import logging
import os
import sys

from peerdiscover import Discovery, Fallback, Kubernetes, SourceLike
from peerdiscover.testing import HeadlessService


def main(service: str, source: SourceLike | None = None) -> None:
    with Discovery(service, source=source) as web:
        for peer in web.peers:
            print(f"{peer.key} at {peer.hostport}, zone {peer.zone or 'unknown'}")
        for change in web.changes(timeout=1):  # without timeout= it never ends
            print(f"{len(change.added)} added, {len(change.removed)} removed")


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stdout, format="%(message)s")  # shows when it falls back to DNS
    if "PEERS" in os.environ:
        main(os.environ["PEERS"])
    else:
        unreachable = Kubernetes(server="https://127.0.0.1:1")
        with HeadlessService("web-headless.prod", replicas=3, ports={"http": 8080}) as svc:
            main("web-headless.prod:http", Fallback(unreachable, svc.source))
