"""A StatefulSet: write to ordinal 0, read from any pod. A pod keeps its ordinal when its address changes.

Run it on this machine, where it starts its own pods, or in a cluster:

    python examples/statefulset.py
    PEERS=db-headless.prod:8080 python examples/statefulset.py
"""

import os

import httpx

from peerdiscover import Discovery, Peer, SourceLike
from peerdiscover.testing import HeadlessService


class Database:
    """A client of a service whose pod 0 takes the writes."""

    def __init__(self, pods: Discovery) -> None:
        self._pods = pods

    def write(self, key: str, value: str) -> None:
        def put(primary: Peer) -> None:
            httpx.put(primary.url(f"/{key}"), content=value, timeout=2).raise_for_status()
            print(f"wrote {key} to {primary.key} at {primary.hostport}")

        # Putting the same value twice does no harm. While pod 0 is away, this waits until it is back.
        self._pods.call(put, on=httpx.TransportError, ordinal=0)

    def read(self, key: str) -> None:
        for attempt in self._pods.attempts(on=httpx.TransportError):  # a read is safe to repeat
            with attempt as replica:
                httpx.get(replica.url(f"/{key}"), timeout=2).raise_for_status()
                print(f"read {key} from {replica.key}")


def main(service: str, source: SourceLike | None = None, svc: HeadlessService | None = None) -> None:
    with Discovery(service, source=source) as pods:
        database = Database(pods)
        database.write("a", "1")
        for _ in range(3):
            database.read("a")
        if svc is not None:
            svc.replace(0)  # db-0 is restarted and comes back with another address
            database.write("b", "2")


if __name__ == "__main__":
    if "PEERS" in os.environ:
        main(os.environ["PEERS"])
    else:
        with HeadlessService("db-headless.prod", replicas=3, ports={"http": 8080}) as service:
            main("db-headless.prod:http", service.source, service)
