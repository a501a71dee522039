"""Fixtures for tests that need a cluster. tests/conftest.py imports them, so that a session has one cluster.

One cluster serves the whole session; a test that uses it *runs inside* its network. Parts that a test stopped
run again after it; another Corefile stays until it is put back. Where there can be no cluster, tests are
skipped on a laptop, with a line that says what is missing; where CI is set, that is an error.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from . import Cluster, Unavailable, Workload


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[Cluster]:
    """The session's cluster, seen from outside: three zones, both families of addresses, a TTL of 5 s."""
    with _start(zones=("zone-a", "zone-b", "zone-c"), dual_stack=True) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Iterator[Cluster]:
    """The session's cluster; the test runs inside it."""
    with shared_cluster.inside():
        _forget_idle_threads()
        yield shared_cluster
        shared_cluster.mend()
    _forget_idle_threads()


@pytest.fixture
def own_cluster() -> Iterator[Callable[..., Cluster]]:
    """`own_cluster(ttl=1, …)` gives a cluster of the test's own, which ends with it. The test is outside."""
    with contextlib.ExitStack() as clusters:
        yield lambda **options: clusters.enter_context(_start(**options))


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A fresh namespace on `cluster`, whose pods end with the test."""
    name = cluster.namespace()
    yield name
    cluster.delete_namespace(name)


@pytest.fixture
def statefulset(cluster: Cluster, namespace: str) -> Callable[..., Workload]:
    """`statefulset("web", 3, …)`: as `Cluster.statefulset`, in `namespace`."""
    return lambda *arguments, **options: cluster.statefulset(*arguments, namespace=namespace, **options)


@pytest.fixture
def deployment(cluster: Cluster, namespace: str) -> Callable[..., Workload]:
    """`deployment("app", 3, …)`: as `Cluster.deployment`, in `namespace`."""
    return lambda *arguments, **options: cluster.deployment(*arguments, namespace=namespace, **options)


def _forget_idle_threads() -> None:
    """trio keeps idle threads for its next task; each stays in the network in which it was born."""
    cache: Any = sys.modules.get("trio._core._thread_cache")
    if cache is not None:
        cache.THREAD_CACHE = cache.ThreadCache()


def _start(**options: Any) -> Cluster:
    try:
        return Cluster.start(**options)
    except Unavailable as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))
