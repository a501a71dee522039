"""Nothing is lost and nothing made up while slices change quickly and the API server is restarted.

What two programs showed (threads, asyncio) is held against what was written, and that against the
revisions that etcd keeps.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from anyio.from_thread import start_blocking_portal

from peerdiscover import AsyncDiscovery, Discovery, Kubernetes
from tests.cluster import Cluster
from tests.waiting import eventually

from ._history import Moment, Recorded, Writer, addresses, complaints, pace, revisions

CHANGES, A_SECOND, RESTARTS = 200, 20, {60: "stop", 130: "kill"}


class InThreads(Recorded, Discovery):
    """A discovery for threads that remembers what it showed."""


class InTasks(Recorded, AsyncDiscovery):
    """The same for asyncio and trio."""


def test_nothing_is_lost_while_the_api_server_restarts_twice(cluster: Cluster, namespace: str) -> None:
    writer = Writer(cluster.api, namespace, "web", seed=1)
    writer.begin()
    beginning = len(writer.writes) - 1
    source = Kubernetes(kubeconfig=cluster.kubeconfig)
    restarts: list[Future[None]] = []

    def restart(how: str) -> None:
        cluster.stop_part("apiserver") if how == "stop" else cluster.kill_part("apiserver")
        cluster.start_part("apiserver")

    with (
        ThreadPoolExecutor(1) as other,
        start_blocking_portal("asyncio") as asyncio,
        InThreads(f"web.{namespace}:http", source=source) as threads,
        asyncio.wrap_async_context_manager(InTasks(f"web.{namespace}:http", source=source)) as tasks,
    ):

        def at(number: int) -> None:
            if how := RESTARTS.get(number):
                restarts.append(other.submit(restart, how))

        pace(writer, CHANGES, A_SECOND, at)
        for done in restarts:
            done.result()
        writer.end()
        last = writer.history[-1].state
        for web in threads, tasks:
            eventually(lambda web=web: addresses(web.peers) == last, 60)  # type: ignore[misc]

    told = [(write.slice, write.version) for write in writer.writes]
    assert told == revisions(cluster, namespace, told[-1][1])
    assert len(restarts) == 2
    assert writer.retries, "no write met an API server that was away"
    for web in threads, tasks:
        history = writer.history[beginning:]
        assert complaints(history, web.shown) == [], type(web)
        assert len(web.shown) > CHANGES / 4  # it was watching while the slices changed


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
