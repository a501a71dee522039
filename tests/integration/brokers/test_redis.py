"""Redis Cluster: three masters, which announce their names."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.tools.cluster import Cluster, Workload

from ._requirements import require
from ._rolling import rolled, serve

SCRIPT = """
cd /mnt/data
if [ "$HOSTNAME" = redis-0 ] && [ ! -e nodes.conf ]; then
  # Form the cluster once, when all three answer. redis-cli takes addresses only.
  (
    all=
    for pod in $($PEERDISCOVER render hosts "$SERVICE:6379" --replicas 3); do
      until address=$(getent ahostsv4 "${pod%:*}" | awk '{print $1; exit}') &&
        [ "$(redis-cli -h "$address" ping)" = PONG ]; do sleep 0.2; done
      all="$all $address:6379"
    done
    redis-cli --cluster create $all --cluster-replicas 0 --cluster-yes
  ) &
fi
exec redis-server --port 6379 --bind 0.0.0.0 --protected-mode no --save "" --appendonly yes --appendfsync no \
  --maxmemory 64mb --cluster-enabled yes --cluster-node-timeout 3000 --cluster-announce-ip "$POD_IP" \
  --cluster-announce-hostname "$(hostname -f)" --cluster-preferred-endpoint-type hostname
"""


@pytest.fixture(autouse=True)
def needs() -> None:
    require("redis-server", "redis")


def test_redis_cluster(cluster: Cluster, statefulset: Callable[..., Workload]) -> None:
    ready = {"exec": {"command": ["sh", "-c", "redis-cli cluster info | grep -q cluster_state:ok"]}}
    servers = serve(statefulset, "redis", SCRIPT, {"redis": 6379, "bus": 16379}, probe=ready)
    rolled(cluster, servers, "_redis")
