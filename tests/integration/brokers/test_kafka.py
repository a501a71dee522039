"""Kafka: three nodes that are brokers and controllers (KRaft), which advertise their names."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.tools.cluster import Cluster, Workload

from ._requirements import JARS, require
from ._rolling import rolled, serve

SCRIPT = """
cd /mnt/data
$PEERDISCOVER render kraft "$SERVICE:9093" --replicas 3 > server.properties
cat >> server.properties <<END
process.roles=broker,controller
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs=/mnt/data/log
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=8388608
num.partitions=3
default.replication.factor=3
min.insync.replicas=2
offsets.topic.replication.factor=3
offsets.topic.num.partitions=3
transaction.state.log.replication.factor=3
transaction.state.log.num.partitions=3
transaction.state.log.min.isr=2
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=1000
END
# Java keeps an address for 30 s unless it is asked not to.
java="java -Xms64m -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1
  -Dsun.net.inetaddr.ttl=5 -Dsun.net.inetaddr.negative.ttl=1"
export CLASSPATH='@JARS@/*'
[ -e log/meta.properties ] ||
  $java kafka.tools.StorageTool format -t TxOh8orSQcqQGRYAm_3ZIw -c server.properties
exec $java kafka.Kafka server.properties
""".replace("@JARS@", str(JARS))


@pytest.fixture(autouse=True)
def needs() -> None:
    require("java", "kafka", "aiokafka", "confluent_kafka")


@pytest.mark.timeout(900)
def test_kafka(cluster: Cluster, statefulset: Callable[..., Workload]) -> None:
    servers = serve(statefulset, "kafka", SCRIPT, {"client": 9092, "controller": 9093})
    rolled(cluster, servers, "_kafka")
