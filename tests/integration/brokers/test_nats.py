"""NATS: three servers with JetStream, whose routes and advertisements are names."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.tools.cluster import Cluster, Workload

from ._requirements import require
from ._rolling import rolled, serve

SCRIPT = """
routes=$($PEERDISCOVER render hosts "$SERVICE:6222" --replicas 3 --separator ,nats://)
exec nats-server -n "$HOSTNAME" -p 4222 -m 8222 -js -sd /mnt/data --cluster_name nats \
  --cluster nats://0.0.0.0:6222 --routes "nats://$routes" \
  --cluster_advertise "$(hostname -f):6222" --client_advertise "$(hostname -f):4222"
"""


@pytest.fixture(autouse=True)
def needs() -> None:
    require("nats-server", "nats")


def test_nats(cluster: Cluster, statefulset: Callable[..., Workload]) -> None:
    ports = {"client": 4222, "cluster": 6222, "monitor": 8222}
    servers = serve(statefulset, "nats", SCRIPT, ports, probe={"httpGet": {"path": "/healthz", "port": 8222}})
    rolled(cluster, servers, "_nats")
