"""RabbitMQ: three nodes that found each other by classic_config, and wait for their own names."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.tools.cluster import Cluster, Workload

from ._requirements import require
from ._rolling import rolled, serve

SCRIPT = """
# RabbitMQ 3.10 hangs at boot while its peers look its name up and get the address before.
$PEERDISCOVER wait "$SERVICE:5672" --self
cd /mnt/data
export HOME=/mnt/data RABBITMQ_USE_LONGNAME=true RABBITMQ_NODENAME=rabbit@$(hostname -f)
export RABBITMQ_MNESIA_BASE=/mnt/data/mnesia RABBITMQ_MNESIA_DIR=/mnt/data/mnesia/db RABBITMQ_LOGS=-
export RABBITMQ_CONFIG_FILE=/mnt/data/rabbitmq.conf RABBITMQ_PID_FILE=/mnt/data/pid
export RABBITMQ_ENABLED_PLUGINS_FILE=/mnt/data/enabled_plugins
export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+sbwt none +sbwtdcpu none +sbwtdio none"
[ -e .erlang.cookie ] || (umask 377 && printf %s COOKIE > .erlang.cookie)
echo '[].' > enabled_plugins
cat > rabbitmq.conf <<END
listeners.tcp.default = 5672
loopback_users = none
vm_memory_high_watermark.absolute = 400MB
disk_free_limit.absolute = 50MB
log.console = true
cluster_partition_handling = pause_minority
END
$PEERDISCOVER render rabbitmq "$SERVICE:5672" --replicas 3 >> rabbitmq.conf
# Erlang would start epmd as a daemon. RUNNING_UNDER_SYSTEMD makes the script exec Erlang.
setpriv --pdeathsig KILL epmd &
export RUNNING_UNDER_SYSTEMD=true
/usr/lib/rabbitmq/bin/rabbitmq-server &
server=$!
trap 'kill $server' TERM
# In place of a startupProbe: two nodes that connect to each other at the same moment can hang 3.10 at boot.
(sleep 60; true 2>/dev/null </dev/tcp/127.0.0.1/5672 || kill -KILL $server) &
while kill -0 $server 2>/dev/null; do wait $server || true; done
"""


@pytest.fixture(autouse=True)
def needs() -> None:
    require("rabbitmq-server", "pika", "aio_pika", "kombu")


@pytest.mark.timeout(900)
def test_rabbitmq(cluster: Cluster, statefulset: Callable[..., Workload]) -> None:
    servers = serve(statefulset, "rabbit", SCRIPT, {"amqp": 5672, "epmd": 4369})
    rolled(cluster, servers, "_rabbitmq")
