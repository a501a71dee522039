"""What the tests of this folder ask the shared cluster for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.tools.cluster import Cluster


@pytest.fixture(scope="module")
def short_ttl(shared_cluster: Cluster) -> Iterator[None]:
    """For a whole module: CoreDNS gives answers that are good for a second, and keeps none."""
    shared_cluster.corefile(ttl=1, cache=0)
    yield
    shared_cluster.corefile()
