"""What the checks find in the charts of well-known systems: nothing that is not so, and no error."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ._objects import Json, findings

CHARTS: dict[str, list[Json]] = json.loads((Path(__file__).parent / "charts" / "charts.json").read_text())
FOUND = {
    "bn-cassandra": ["PD302 Service prod/cassandra-headless"],  # tls, while TLS is off
    "bn-consul": ["PD202 Service prod/consul-headless"],  # 8302: its own policy lets nothing in there
    "bn-grafana-loki": [
        "PD302 Service prod/grafana-loki-gossip-ring"
    ],  # lists a frontend without such a port
    "bn-grafana-mimir": [
        "PD105 StatefulSet prod/grafana-mimir-ingester",
        "PD105 StatefulSet prod/grafana-mimir-store-gateway",
    ],
    "bn-memcached": ["PD105 StatefulSet prod/memcached"],
    "bn-prometheus": ["PD401 StatefulSet prod/prometheus-alertmanager"],
    "bn-scylladb": [
        "PD202 Service prod/scylladb-headless",
        "PD302 Service prod/scylladb-headless",
        "PD303 Service prod/scylladb-headless",
    ],
    "pulsar": [
        "PD105 StatefulSet prod/pulsar-proxy",
        "PD402 StatefulSet prod/pulsar-recovery",
        "PD402 StatefulSet prod/pulsar-toolset",
    ],
}


@pytest.mark.parametrize("chart", CHARTS)
def test_exactly_this_is_found(chart: str) -> None:
    found = findings(CHARTS[chart])
    assert [one.level for one in found] == ["warning"] * len(found)
    assert [f"{one.code} {one.about}" for one in found] == FOUND.get(chart, [])


def test_all_that_is_said_to_be_found_is_there() -> None:
    assert FOUND.keys() <= CHARTS.keys()
