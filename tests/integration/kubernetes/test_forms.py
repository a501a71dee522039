"""What CoreDNS says in other forms: pods' names for endpoints, both families, pods that are not ready."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from peerdiscover import Discovery, resolve
from tests.integration.dns.helpers import addresses, changed_to, hostnames, policy
from tests.tools.cluster import Cluster, Workload
from tests.tools.cluster.tests._dns import addresses as asked
from tests.tools.cluster.tests._dns import ask
from tests.waiting import eventually

from ._watched import Shown, at, dns, places

Make = Callable[..., Workload]

pytestmark = pytest.mark.usefixtures("short_ttl")


def in_dns(cluster: Cluster, web: Workload, family: str = "A") -> None:
    """Waits until its pods are ready, and CoreDNS gives them."""
    pods = web.wait()
    wanted = {ip for pod in pods for ip in pod.ips if (":" in ip) == (family == "AAAA")}
    eventually(lambda: asked(cluster, web.fqdn, family) == wanted)


# endpoint_pod_names


def test_pods_of_a_deployment_are_called_by_address_or_by_name(cluster: Cluster, deployment: Make) -> None:
    """As the server is set. With the pods' names they have hostnames, so keys, and no ordinals."""
    app = deployment("app", 3)
    pods = app.wait()
    service = f"app.{app.namespace}:http"
    in_dns(cluster, app)
    found = resolve(service, source=dns(cluster))
    assert {peer.key for peer in found} == {f"{pod.ip}:8080" for pod in pods}
    assert hostnames(found) == [None] * 3
    cluster.corefile(ttl=1, cache=0, endpoint_pod_names=True)
    try:
        found = resolve(service, source=dns(cluster))
    finally:
        cluster.corefile(ttl=1, cache=0)
    assert at(found) == places(pods)
    assert hostnames(found) == sorted(pod.name for pod in pods)
    assert {peer.ordinal for peer in found} == {None}
    assert all(asked(cluster, peer.fqdn.rstrip(".")) == set() for peer in found if peer.fqdn), "no longer"


def test_the_option_changes_nothing_for_a_statefulset(cluster: Cluster, statefulset: Make) -> None:
    web = statefulset("web", 2)
    in_dns(cluster, web)
    before = resolve(f"web.{web.namespace}:http", source=dns(cluster))
    cluster.corefile(ttl=1, cache=0, endpoint_pod_names=True)
    try:
        assert resolve(f"web.{web.namespace}:http", source=dns(cluster)) == before
    finally:
        cluster.corefile(ttl=1, cache=0)


def test_the_option_is_set_under_a_discovery(cluster: Cluster, deployment: Make) -> None:
    """The same pods have other keys then. Nobody is in the set twice: the old keys' addresses are taken."""
    app = deployment("app", 5)
    in_dns(cluster, app)
    pods = app.pods()
    by_address = {(f"{pod.ip}:8080", pod.ip) for pod in pods}
    with Discovery(f"app.{app.namespace}:http", source=dns(cluster), policy=policy()) as found:
        with Shown(found) as shown:
            cluster.corefile(ttl=1, cache=0, endpoint_pod_names=True)
            try:
                changed_to(found, lambda peers: at(peers) == places(pods))
                picked = {found.round_robin().pick().key for _ in range(10)}
            finally:
                cluster.corefile(ttl=1, cache=0)
            changed_to(found, lambda peers: at(peers) == by_address)
        assert picked == {pod.name for pod in pods}
        told = [(len(change.added), len(change.removed)) for change in shown.changes]
        assert told == [(5, 5), (5, 5)]


# Both families


@pytest.mark.parametrize("port", ["8080", "http"])
def test_a_statefulset_with_both_families(cluster: Cluster, statefulset: Make, port: str) -> None:
    """A hostname ties a pod's addresses together."""
    web = statefulset("web", 3, dual_stack=True)
    in_dns(cluster, web, "A")
    in_dns(cluster, web, "AAAA")
    pods = web.pods()
    service = f"web.{web.namespace}:{port}"
    found = resolve(service, source=dns(cluster))
    assert [(peer.hostname, peer.addresses) for peer in found] == [(pod.name, pod.ips) for pod in pods]
    only = resolve(service, source=dns(cluster, family="ipv6"))
    assert [(peer.hostname, peer.addresses) for peer in only] == [(pod.name, pod.ips[1:]) for pod in pods]
    assert only[0].hostport == f"[{pods[0].ips[1]}]:{8080}"


@pytest.mark.parametrize("port", ["8080", "http"])
def test_a_deployment_with_both_families(cluster: Cluster, deployment: Make, port: str) -> None:
    """CoreDNS gives two SRV targets a pod, and nothing ties them: three pods, not six."""
    app = deployment("app", 3, dual_stack=True)
    in_dns(cluster, app, "A")
    in_dns(cluster, app, "AAAA")
    assert len(ask(cluster, f"_http._tcp.{app.fqdn}", "SRV").records) == 6
    service = f"app.{app.namespace}:{port}"
    for family, wanted in ("any", 0), ("ipv4", 0), ("ipv6", 1):
        found = resolve(service, source=dns(cluster, family=family))
        assert set(addresses(found)) == {pod.ips[wanted] for pod in app.pods()}
        assert len(found) == 3


def test_a_roll_with_both_families(cluster: Cluster, statefulset: Make) -> None:
    """Each family has an EndpointSlice of its own, so one may change before the other one does."""
    web = statefulset("web", 3, dual_stack=True)
    in_dns(cluster, web, "A")
    in_dns(cluster, web, "AAAA")
    before = {(pod.name, pod.ips) for pod in web.pods()}
    with Discovery(f"web.{web.namespace}:http", source=dns(cluster), policy=policy()) as found:

        def whole() -> set[tuple[str, tuple[str, ...]]]:
            return {(peer.key, peer.addresses) for peer in found.peers}

        assert whole() == before
        with Shown(found) as shown:
            web.restart()
            after = {(pod.name, pod.ips) for pod in web.wait()}
            eventually(lambda: whole() == after)
        of = {name: {ip for key, ips in before | after for ip in ips if key == name} for name, _ in after}
        for peers in shown.sets:
            assert len(peers) >= 2
            for peer in peers:
                assert set(peer.addresses) <= of[peer.key], "an address of somebody else"


# Not ready


def test_who_is_not_ready_goes_and_comes_back(cluster: Cluster, statefulset: Make) -> None:
    """It is the same pod at the same place: what is known of it by key is good again."""
    web = statefulset("web", 3)
    before = places(web.wait())
    with Discovery(f"web.{web.namespace}:http", source=dns(cluster), policy=policy()) as found:
        one = found.ordinal(1)
        with Shown(found) as shown:
            web.set_ready("web-1", ready=False)
            changed_to(found, lambda peers: len(peers) == 2)
            web.set_ready("web-1", ready=True)
            changed_to(found, lambda peers: len(peers) == 3)
        assert found.ordinal(1) == one
        assert shown.ever == before
        assert [str(change)[0] for change in shown.changes] == ["-", "+"]


def test_all_are_not_ready_for_less_than_the_hold(cluster: Cluster, statefulset: Make) -> None:
    """A probe that fails everywhere at once, such as of a database that all need. DNS has nobody then."""
    web = statefulset("web", 3)
    in_dns(cluster, web)
    still = {"min_refresh": 1000, "max_refresh": 1000, "retry_initial": 1000, "retry_max": 1000}
    terms = policy(hold=1000, **still)  # asks only when it is told to, not while they are half ready
    with Discovery(f"web.{web.namespace}:http", source=dns(cluster), policy=terms) as found:
        three = found.peers
        for i in range(3):
            web.set_ready(f"web-{i}", ready=False)
        eventually(lambda: ask(cluster, web.fqdn).rcode_name == "NXDOMAIN")
        assert found.refresh() is three
        assert (found.status.stale, len(found.status.suspects)) == (True, 3)
        for i in range(3):
            web.set_ready(f"web-{i}", ready=True)
        in_dns(cluster, web)
        assert found.refresh() is three
        assert (found.status.stale, found.status.suspects) == (False, ())


def test_unready_and_ending_pods_are_there_where_the_service_publishes_them(
    cluster: Cluster, statefulset: Make
) -> None:
    """As for members of a cluster that become ready by finding one another."""
    web = statefulset("web", 3, publish_not_ready=True, annotations={"test/linger": "600"}, grace=600)
    before = places(web.wait())
    with Discovery(f"web.{web.namespace}:http", source=dns(cluster), policy=policy()) as found:
        with Shown(found) as shown:
            web.set_ready("web-0", ready=False)
            web.until(lambda pods: not pods[0].ready)
            web.scale(4)
            web.until(lambda pods: len(pods) == 4)
            four = changed_to(found, lambda peers: len(peers) == 4)
            assert at(four) >= before
            web.scale(3)
            where = cluster.api.path("Pod", web.namespace, "web-3")
            eventually(lambda: "deletionTimestamp" in cluster.api.get(where)["metadata"])
            lookups = found.status.lookups
            eventually(lambda: found.status.lookups >= lookups + 4)
            assert found.peers is four, "web-3 is on the way out, and there"
            web.delete_pod("web-3", grace=0)
            changed_to(found, lambda peers: len(peers) == 3)
        assert shown.always == before
