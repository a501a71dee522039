"""memcached: each key is with its pod, wherever that is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.tools.cluster import Cluster, Workload

from ._requirements import require
from ._rolling import rolled, serve

SCRIPT = "exec memcached -u nobody -m 16 -p 11211"


@pytest.fixture(autouse=True)
def needs() -> None:
    require("memcached", "pymemcache")


def test_memcached(cluster: Cluster, statefulset: Callable[..., Workload]) -> None:
    servers = serve(statefulset, "memcached", SCRIPT, {"memcached": 11211})
    results = rolled(cluster, servers, "_memcached")
    assert not [error for error in results[0].errors if error.startswith("AssertionError")]
