"""Looks at a namespace over the bare API: when a pod was Ready, and when a slice said so.

Started by `_cluster_children` with server, CA, token and namespace. It knows nothing of the library: a second
opinion on what the API server told whom, and when. The clock is the machine's monotonic one.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPSConnection
from ssl import create_default_context
from typing import Any
from urllib.parse import urlsplit

Json = dict[str, Any]


def main() -> None:
    server, ca, token, namespace = sys.argv[1:]
    address = urlsplit(server).netloc

    def follow(path: str, say: Callable[[float, Json], None]) -> None:
        for at, event in _events(address, ca, token, f"{path}?watch=1"):
            say(at, event)

    pods = f"/api/v1/namespaces/{namespace}/pods"
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    threading.Thread(target=follow, args=(pods, _News(_ready_pod).tell), daemon=True).start()
    follow(slices, _News(_ready_in_slice).tell)


def _events(address: str, ca: str, token: str, path: str) -> Iterator[tuple[float, Json]]:
    """Each event, and when its line was there."""
    connection = HTTPSConnection(address, context=create_default_context(cafile=ca))
    connection.request("GET", path, headers={"authorization": f"Bearer {token}"})
    response = connection.getresponse()
    while line := response.readline():
        yield time.monotonic(), json.loads(line)


class _News:
    """Says of each address once when it became ready."""

    def __init__(self, ready: Callable[[Json], tuple[str, set[str]]]) -> None:
        self._ready, self._known = ready, set[str]()

    def tell(self, at: float, event: Json) -> None:
        kind, addresses = self._ready(event["object"])
        for address in sorted(addresses - self._known):
            sys.stdout.write(json.dumps({"at": at, kind: address}) + "\n")  # one call: two threads speak
        sys.stdout.flush()
        self._known |= addresses


def _ready_pod(pod: Json) -> tuple[str, set[str]]:
    conditions = {one["type"]: one["status"] for one in pod.get("status", {}).get("conditions", ())}
    return "pod", {pod["status"]["podIP"]} if conditions.get("Ready") == "True" else set()


def _ready_in_slice(given: Json) -> tuple[str, set[str]]:
    return "slice", {
        address
        for endpoint in given.get("endpoints") or ()
        if endpoint["conditions"].get("ready")
        for address in endpoint["addresses"]
    }


if __name__ == "__main__":
    main()
