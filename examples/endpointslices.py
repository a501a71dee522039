"""Pods as the API server tells them, with their zones; over DNS while the API server cannot be had.

Run it here, where there is no API server and DNS says it all, or in a cluster:

    python examples/endpointslices.py
    PEERS=auto:web-headless.prod:http python examples/endpointslices.py

In a cluster the pod wants the ServiceAccount of examples/manifests/read-endpointslices.yaml.
"""

import logging
import os
import sys

from peerdiscover import Discovery, Fallback, Kubernetes, SourceLike
from peerdiscover.testing import HeadlessService


def main(service: str, source: SourceLike | None = None) -> None:
    with Discovery(service, source=source) as web:
        for peer in web.peers:
            print(f"{peer.key} at {peer.hostport}, zone {peer.zone or 'not told'}")
        for change in web.changes(timeout=1):  # without timeout: for ever
            print(f"{len(change.added)} came, {len(change.removed)} went")


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stdout, format="%(message)s")  # says when it goes over to DNS
    if "PEERS" in os.environ:
        main(os.environ["PEERS"])
    else:
        nobody_listens_there = Kubernetes(server="https://127.0.0.1:1")
        with HeadlessService("web-headless.prod", replicas=3, ports={"http": 8080}) as svc:
            main("web-headless.prod:http", Fallback(nobody_listens_there, svc.source))
