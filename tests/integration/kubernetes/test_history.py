"""Nothing is lost and nothing made up while slices change quickly and the API server is restarted.

What three programs showed (threads, asyncio, trio) is held against what was written, and that against the
revisions that etcd keeps.
"""

from __future__ import annotations

import time
from itertools import pairwise

import pytest

from peerdiscover import Discovery, Kubernetes
from tests.tools.cluster import Cluster
from tests.waiting import eventually

from ._followed import addresses, run
from ._history import Moment, complaints
from ._swallowing import Proxy, tells_no_end
from ._writing import endpoint, revisions, service, slice_of


def test_nothing_is_lost_while_the_api_server_restarts_twice(cluster: Cluster, namespace: str) -> None:
    source = Kubernetes(cluster.server, cluster.ca, cluster.admin_token)
    done = run(cluster, namespace, source, loops=["asyncio", "trio"], changes=200, a_second=20, stretch=20)
    assert done.told == revisions(cluster, namespace, done.told[-1][1])
    assert done.retries, "no write met an API server that was away"
    for name, shown in done.shown.items():
        assert complaints(done.history, shown) == [], name


def test_a_missed_end_does_not_last(cluster: Cluster, namespace: str) -> None:
    """The watch goes on, a proxy keeps from it that a slice has gone; `status` says how old the set is."""
    api, slices = cluster.api, cluster.api.path("EndpointSlice", namespace)
    stays, goes = endpoint(1), endpoint(2)
    api.post(api.path("Service", namespace), service(namespace, "web"))
    api.post(slices, slice_of(namespace, "stays", "web", [stays]))
    there = frozenset(stays["addresses"])
    with Proxy(cluster) as proxy:
        source = Kubernetes(proxy.server, str(cluster.ca), cluster.admin_token, timeout_seconds=2)
        with Discovery(f"web.{namespace}:http", source=source) as web:
            proxy.swallow = tells_no_end
            while not proxy.swallowed:  # it may go just between two watches
                api.post(slices, slice_of(namespace, "goes", "web", [goes]))
                eventually(lambda: len(web.peers) == 2)
                peers, looks = web.peers, []
                api.delete(f"{slices}/goes")
                while web.peers is peers:
                    before, age, after = time.monotonic(), web.status.age, time.monotonic()
                    assert age is not None
                    looks.append((before, age, after))
                    assert before < looks[0][0] + 60
                    time.sleep(0.01)
                # Nothing confirmed the set meanwhile, but perhaps an answer from before that was under way.
                assert sum(_is_younger(*pair) for pair in pairwise(looks[:-1])) <= 1
                assert addresses(web.peers) == there


def _is_younger(before: tuple[float, float, float], then: tuple[float, float, float]) -> bool:
    """Whether the age grew by less than the time from one look to the next."""
    return then[1] - before[1] < then[0] - before[2] - 1e-6


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
