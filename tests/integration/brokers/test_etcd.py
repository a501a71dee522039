"""etcd: three members, which know each other by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.tools.cluster import Cluster, Workload

from ._requirements import require
from ._rolling import rolled, serve

SCRIPT = """
pods=$($PEERDISCOVER render hosts "$SERVICE:2380" --replicas 3)
members=$(for pod in $pods; do printf '%s=http://%s,' "${pod%%.*}" "$pod"; done)
exec etcd --name "$HOSTNAME" --data-dir /mnt/data/etcd \
  --initial-cluster "${members%,}" --initial-cluster-state new \
  --listen-peer-urls http://0.0.0.0:2380 --initial-advertise-peer-urls "http://$(hostname -f):2380" \
  --listen-client-urls http://0.0.0.0:2379 --advertise-client-urls "http://$(hostname -f):2379"
"""


@pytest.fixture(autouse=True)
def needs() -> None:
    require("etcd", "etcd3gw")


def test_etcd(cluster: Cluster, statefulset: Callable[..., Workload]) -> None:
    ports = {"client": 2379, "peer": 2380}
    servers = serve(statefulset, "etcd", SCRIPT, ports, probe={"httpGet": {"path": "/health", "port": 2379}})
    rolled(cluster, servers, "_etcd")
