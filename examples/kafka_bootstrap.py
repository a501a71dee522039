"""The bootstrap list for a Kafka client, made of the current brokers.

Run it on this machine, where it starts its own pods, or in a cluster:

    python examples/kafka_bootstrap.py
    PEERS=kafka-headless.prod:9092 python examples/kafka_bootstrap.py
"""

import os

from peerdiscover import Peer, SourceLike, resolve
from peerdiscover.testing import HeadlessService


def address(peer: Peer) -> str:
    """The pod's DNS name if it has one: it survives a restart, and certificates contain it."""
    return f"{peer.fqdn.removesuffix('.')}:{peer.port}" if peer.fqdn else peer.hostport


def bootstrap_servers(service: str, source: SourceLike | None = None) -> list[str]:
    return [address(peer) for peer in resolve(service, source=source)]


def main(service: str, source: SourceLike | None = None) -> None:
    servers = bootstrap_servers(service, source)
    # With kafka-python: KafkaProducer(bootstrap_servers=servers)
    print("bootstrap.servers=" + ",".join(servers))


if __name__ == "__main__":
    if "PEERS" in os.environ:
        main(os.environ["PEERS"])
    else:
        with HeadlessService("kafka-headless.prod", replicas=3, ports={"broker": 9092}) as svc:
            main("kafka-headless.prod:broker", svc.source)
