"""PostgreSQL: a primary and a standby, of which the one that ends makes the other one the primary."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.tools.cluster import Cluster, Workload

from ._requirements import require
from ._rolling import ready, rolled, serve

SCRIPT = """
cd /
PATH=$(echo /usr/lib/postgresql/*/bin):$PATH
as="setpriv --reuid=postgres --regid=postgres --clear-groups"
other=$SERVICE-$((1 - ${HOSTNAME##*-})).$(hostname -f | cut -d. -f2-)
data=/mnt/data/db
of_other() { PGCONNECT_TIMEOUT=2 psql -h "$other" -U postgres -Atc "$1"; }
is_primary() { [ "$(of_other 'select pg_is_in_recovery()' 2>&1)" = f ]; }

if is_primary || [ "$HOSTNAME" = "$SERVICE-1" ]; then
  until is_primary; do sleep 0.2; done
  rm -rf $data
  install -d -m 700 -o postgres -g postgres $data
  until $as pg_basebackup -h "$other" -U postgres -D $data -R -X stream -c fast; do sleep 0.3; done
elif [ ! -e $data/PG_VERSION ]; then
  install -d -m 700 -o postgres -g postgres $data
  $as initdb -D $data -U postgres --auth=trust -E UTF8 --locale=C.UTF-8 --no-sync
  cat >> $data/pg_hba.conf <<END
host app app 0.0.0.0/0 scram-sha-256
host all all 0.0.0.0/0 trust
host replication all 0.0.0.0/0 trust
END
fi
$as --pdeathsig KILL "$(command -v postgres)" -D $data -c listen_addresses=* -c unix_socket_directories= \
  -c shared_buffers=16MB -c max_connections=50 -c wal_keep_size=64MB -c fsync=off &
server=$!
# SIGTERM would wait for the clients to leave. A primary that ends by SIGINT sends all there is to its standby
# first; then that one takes over, as an operator would have it.
end() {
  was=$(psql -h localhost -U postgres -Atc 'select pg_is_in_recovery()')
  kill -INT $server
  while kill -0 $server 2>/dev/null; do wait $server || true; done
  [ "$was" = t ] || of_other 'select pg_promote()'
  exit 0
}
trap end TERM
while kill -0 $server 2>/dev/null; do wait $server || true; done
"""


@pytest.fixture(autouse=True)
def needs() -> None:
    require("initdb", "psycopg", "asyncpg", "sqlalchemy")


def test_postgresql(cluster: Cluster, statefulset: Callable[..., Workload]) -> None:
    servers = serve(statefulset, "pg", SCRIPT, {"postgresql": 5432}, replicas=2)
    ready(cluster, servers)
    psql = [
        "psql",
        "-h",
        "localhost",
        "-U",
        "postgres",
        "-c",
        "CREATE USER app SUPERUSER PASSWORD 'p@ss/w:rd'",
    ]
    made = cluster.exec("pg-0", servers.namespace, [*psql, "-c", "CREATE DATABASE app"])
    assert made.returncode == 0, made.stderr
    rolled(cluster, servers, "_postgresql")
