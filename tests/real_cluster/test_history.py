"""Nothing is lost and nothing made up while slices change quickly and the API server is restarted.

What three programs showed (threads, asyncio, trio) is held against what was written, and that against the
revisions that etcd keeps.
"""

from __future__ import annotations

import pytest

from peerdiscover import Kubernetes
from tests.cluster import Cluster

from ._followed import run
from ._history import Moment, complaints
from ._writing import revisions


def test_nothing_is_lost_while_the_api_server_restarts_twice(cluster: Cluster, namespace: str) -> None:
    source = Kubernetes(kubeconfig=cluster.kubeconfig)
    done = run(cluster, namespace, source, loops=["asyncio", "trio"], changes=200, a_second=20, stretch=20)
    assert done.told == revisions(cluster, namespace, done.told[-1][1])
    assert done.retries, "no write met an API server that was away"
    for name, shown in done.shown.items():
        assert complaints(done.history, shown) == [], name


A, B, C = (frozenset({"anchor", *more}) for more in ((), ("one",), ("one", "two")))
HISTORY = [Moment(0, A), Moment(1, B), Moment(2, C), Moment(3, B)]


@pytest.mark.parametrize(
    ("shown", "complaint"),
    [
        ([(0.5, A), (1.5, B), (2.5, C), (3.5, B)], None),
        ([(2.5, C), (3.5, B)], None),  # not everything has to be shown
        ([(0.5, A), (1.5, B)], None),  # the last equals the last: B at 1 and B at 3 are the same
        ([], "nothing was shown"),
        ([(1.5, B), (2.5, C)], "not the last state: ['two'] too many"),
        ([(1.5, frozenset({"anchor", "two"})), (3.5, B)], "never was"),
        ([(1.5, frozenset({"one"})), (3.5, B)], "there all the time: ['anchor']"),
        ([(2.5, C), (2.6, A), (3.5, B)], "older than the one before it"),
        ([(1.5, C), (3.5, B)], "before it was written"),
    ],
)
def test_what_is_complained_of(shown: list[tuple[float, frozenset[str]]], complaint: str | None) -> None:
    found = complaints(HISTORY, [Moment(*one) for one in shown])
    assert complaint in "; ".join(found) if complaint else not found
