"""What was shown of many changes while the API server restarted twice, judged as
tests/integration/kubernetes does."""

from __future__ import annotations

from collections.abc import Iterator

from peerdiscover import Kubernetes
from tests.integration.kubernetes._followed import run
from tests.integration.kubernetes._history import complaints
from tests.integration.kubernetes._writing import revisions
from tests.tools.cluster import Cluster

from ._table import Row

CHANGES, A_SECOND = 500, 20


def figures(cluster: Cluster) -> Iterator[Row]:
    namespace = cluster.namespace()
    with cluster.inside():
        source = Kubernetes(cluster.server, cluster.ca, cluster.admin_token)
        done = run(
            cluster, namespace, source, loops=["asyncio"], changes=CHANGES, a_second=A_SECOND, stretch=100
        )
    assert done.told == revisions(cluster, namespace, done.told[-1][1]), "etcd has another history"
    count, names = len(done.history), ("threads", "asyncio")
    yield Row(
        f"{count} states, {count / done.seconds:.0f} a second, two restarts of the API server: sets shown",
        ", ".join(f"{name} {len(done.shown[name])}" for name in names),
    )
    wrong = {name: complaints(done.history, done.shown[name]) for name in names}
    for lines in wrong.values():
        assert all("the last set" not in line for line in lines), lines
    yield Row(
        "… that never were, came out of order, or lacked who was there all the time",
        ", ".join(f"{name} {len(wrong[name])}" for name in names),
        goal="none",
    )
    cluster.delete_namespace(namespace)
