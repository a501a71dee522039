"""CoreDNS ends, comes back, hangs, or knows no more than its API server: what was known stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import anyio
import pytest

from peerdiscover import (
    AsyncDiscovery,
    Discovery,
    NameNotFoundError,
    Outcome,
    ResolutionTimeoutError,
    resolve,
)
from tests.integration.dns.helpers import changed_to, entering, policy
from tests.tools.cluster import Cluster, Workload
from tests.tools.cluster.tests._dns import addresses as asked
from tests.tools.cluster.tests._dns import ask
from tests.waiting import eventually

from ._watched import Shown, at, dns, places

Make = Callable[..., Workload]

pytestmark = pytest.mark.usefixtures("short_ttl")


@contextmanager
def without(cluster: Cluster, part: str, *, how: str = "kill") -> Iterator[None]:
    """Meanwhile that part of the cluster is not there; or it hangs, where `how` is "pause"."""
    begin, end = {
        "stop": (cluster.stop_part, cluster.start_part),
        "kill": (cluster.kill_part, cluster.start_part),
        "pause": (cluster.pause_part, cluster.resume_part),
    }[how]
    begin(part)
    try:
        yield
    finally:
        end(part)


@contextmanager
def without_api_server(cluster: Cluster) -> Iterator[None]:
    """Afterwards the controllers begin anew: the longer it was away, the longer they would wait to ask it."""
    try:
        with without(cluster, "apiserver"):
            yield
    finally:
        cluster.kill_part("controllers")
        cluster.start_part("controllers")


@pytest.mark.parametrize("how", ["stop", "kill", "pause"])
def test_coredns_is_away_for_a_while(cluster: Cluster, statefulset: Make, how: str) -> None:
    """Each answer fails: nobody goes, and it is told. The first good answer ends it, and has the new pods."""
    web = statefulset("web", 3)
    web.wait()
    terms = policy(timeout=0.5, hold=0.1)
    with Discovery(f"web.{web.namespace}:http", source=dns(cluster), policy=terms) as found:
        with Shown(found) as shown, without(cluster, "coredns", how=how):
            failures = found.status.failures
            eventually(lambda: found.status.failures >= failures + 4)
            status = found.status
            assert (status.outcome, status.stale, status.suspects) == (Outcome.FAILED, True, ())
            assert ("refused" in str(status.error)) is (how != "pause"), status.error
            web.scale(4)
            web.wait(4)
        changed_to(found, lambda peers: len(peers) == 4)
        eventually(lambda: not found.status.stale)
        assert shown.fewest == 3


@pytest.mark.anyio
async def test_so_it_is_awaited(cluster: Cluster, statefulset: Make) -> None:
    web = statefulset("web", 2)
    web.wait()
    terms = policy(timeout=0.5, hold=0.1)
    async with AsyncDiscovery(f"web.{web.namespace}:http", source=dns(cluster), policy=terms) as found:
        two = found.peers
        with anyio.fail_after(30):
            cluster.pause_part("coredns")
            try:
                for _ in range(3):
                    assert await found.refresh() is two
                    assert (found.status.outcome, found.status.stale) == (Outcome.FAILED, True)
            finally:
                cluster.resume_part("coredns")
            assert await found.refresh() is two
        assert not found.status.stale


def test_a_program_starts_while_coredns_is_away(cluster: Cluster, statefulset: Make) -> None:
    """It waits, and is not told that there is nobody. Once is once: nobody could answer."""
    web = statefulset("web", 3)
    web.wait()
    service = f"web.{web.namespace}:http"
    found = Discovery(service, source=dns(cluster), policy=policy(timeout=0.5))
    with without(cluster, "coredns"):
        with pytest.raises(ResolutionTimeoutError, match="refused") as raised:
            resolve(service, source=dns(cluster), timeout=1)
        assert not isinstance(raised.value, NameNotFoundError)
        with entering(found):
            eventually(lambda: found.status.failures >= 2)
            cluster.start_part("coredns")
            changed_to(found, lambda peers: len(peers) == 3)


def test_coredns_knows_only_what_it_heard_before_its_api_server_ended(
    cluster: Cluster, statefulset: Make
) -> None:
    """Its answers are good by all that it can know, and so are ours. What changed meanwhile is seen after."""
    web = statefulset("web", 3)
    before = places(web.wait())
    with Discovery(f"web.{web.namespace}:http", source=dns(cluster), policy=policy()) as found:
        with Shown(found) as shown:
            with without_api_server(cluster):
                lookups = found.status.lookups
                eventually(lambda: found.status.lookups >= lookups + 5)
                assert found.status.failures == 0
                assert not shown.changes
            web.restart()
            after = places(web.wait())
            changed_to(found, lambda peers: at(peers) == after)
        assert shown.ever <= before | after


def test_coredns_begins_without_an_api_server(cluster: Cluster, statefulset: Make) -> None:
    """It knows nothing then, and what it says of it must not be taken for "nobody is there"."""
    web = statefulset("web", 3)
    web.wait()
    terms = policy(hold=0.1)
    with (
        ThreadPoolExecutor(1) as pool,
        Discovery(f"web.{web.namespace}:http", source=dns(cluster), policy=terms) as found,
        Shown(found) as shown,
    ):
        with without_api_server(cluster):
            cluster.kill_part("coredns")
            started = pool.submit(cluster.start_part, "coredns")  # returns when it serves, so later
            eventually(lambda: "SERVFAIL" in str(found.status.error), timeout=40)
            failures = found.status.failures
            eventually(lambda: found.status.failures >= failures + 5)
            assert ask(cluster, web.fqdn).rcode_name == "SERVFAIL"
            assert not started.done()
        started.result(timeout=60)
        eventually(lambda: not found.status.stale)
        assert not shown.changes


def test_restarts_of_coredns_under_many_changes(cluster: Cluster, statefulset: Make) -> None:
    """A fresh CoreDNS serves whole sets from its first answer on: who was there all the time never misses."""
    web = statefulset("web", 4)
    first = places(web.wait())
    with Discovery(f"web.{web.namespace}:http", source=dns(cluster), policy=policy(timeout=0.5)) as found:
        with Shown(found) as shown:
            for replicas in 6, 5, 7:
                cluster.kill_part("coredns")
                web.scale(replicas)
                web.wait(replicas)
                cluster.start_part("coredns")
                last = places(web.pods())
                changed_to(found, lambda peers, last=last: at(peers) == last)  # type: ignore[misc]
        assert shown.always == first


# Its cache


@pytest.fixture
def cached(cluster: Cluster) -> Iterator[Cluster]:
    """CoreDNS keeps answers for five seconds, the least that it can."""
    cluster.corefile(ttl=1, cache=5)
    yield cluster
    cluster.corefile(ttl=1, cache=0)


def publish(cluster: Cluster, namespace: str, count: int) -> None:
    """A Service without a selector whose one EndpointSlice has so many pods: it changes from one moment to
    the next.
    """
    labels = {"kubernetes.io/service-name": "web"}
    slice_ = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "web-1", "labels": labels},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [{"addresses": [f"10.244.240.{i}"], "hostname": f"web-{i}"} for i in range(count)],
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"clusterIP": "None", "ports": [{"name": "http", "port": 8080}]},
    }
    cluster.api.apply([service, slice_], namespace)


def test_a_cached_answer_is_no_second_opinion(cached: Cluster, namespace: str) -> None:
    """Six pods become one just after the cache has heard of six. Then it says one, over UDP and TCP.

    The five who are missing are believed to be gone when the next answer that is not out of the cache lacks
    them, too.
    """
    publish(cached, namespace, 6)
    fqdn = f"web.{namespace}.svc.{cached.cluster_domain}"
    eventually(lambda: len(asked(cached, fqdn)) == 6)
    terms = policy(max_refresh=30, hold=60)
    with Discovery(f"web.{namespace}:http", source=dns(cached), policy=terms) as found:
        publish(cached, namespace, 1)
        for _ in range(3):
            assert len(found.refresh()) == 6
            assert found.status.suspects == ()
        over_tcp = ask(cached, f"_http._tcp.{fqdn}", "SRV")
        assert len(over_tcp.records) == 6
        assert over_tcp.ttl is not None
        assert over_tcp.ttl <= 5
        eventually(lambda: len(found.status.suspects) == 5)
        for _ in range(3):
            assert len(found.refresh()) == 6, found.explain()
        asks = found.status.lookups
        assert at(changed_to(found, lambda peers: len(peers) == 1)) == {("web-0", "10.244.240.0")}
        assert found.status.lookups - asks <= 3, "asked when a fresh answer was due, not again and again"


def test_the_cache_remembers_that_nobody_was_there(cached: Cluster, statefulset: Make) -> None:
    """Who waits for the first pods sees them when the cache forgets, and not much later."""
    web = statefulset("web", 0)
    found = Discovery(f"web.{web.namespace}:http", source=dns(cached), policy=policy())
    with entering(found):
        eventually(lambda: found.status.lookups >= 2)
        assert found.status.outcome is Outcome.NOT_FOUND
        web.scale(3)
        web.wait(3)
        assert len(changed_to(found, lambda peers: len(peers) == 3, timeout=7)) == 3
        addresses = {peer.address for peer in found.peers}
        # The denial of A may be remembered for longer than that of SRV: the cache heard of it later.
        eventually(lambda: asked(cached, web.fqdn) == addresses)
