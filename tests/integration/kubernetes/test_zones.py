"""Zones over CoreDNS's zone-scoped names, of pods that the control plane has placed on nodes."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import pytest

from peerdiscover import (
    DNS,
    AsyncDiscovery,
    Discovery,
    Fallback,
    Identity,
    Kubernetes,
    NoPeersError,
    Peer,
    Policy,
    resolve,
)
from tests.tools.cluster import Cluster, Workload
from tests.waiting import LONG, eventually

HERE = Identity(zone="zone-b")


@pytest.fixture
def zonal(cluster: Cluster) -> Iterator[Cluster]:
    """The session's cluster, its CoreDNS with zone-scoped names."""
    cluster.corefile(zonal=True, ttl=1, cache=0)
    yield cluster
    cluster.corefile()


def dns(cluster: Cluster, family: Literal["any", "ipv4", "ipv6"] = "any") -> DNS:
    return DNS([cluster.nameserver], cluster_domain=cluster.cluster_domain, family=family)


def by_zone(workload: Workload, family: int = 4) -> dict[str, set[str]]:
    """The addresses of its pods, by the zone of their nodes, as the API has them."""
    zones: dict[str, set[str]] = {}
    for pod in workload.pods():
        zones.setdefault(pod.zone, set()).update(ip for ip in pod.ips if (":" in ip) == (family == 6))
    return zones


def told(peers: Iterable[Peer]) -> set[str]:
    """The addresses of those who are told to be in the own zone."""
    there = [peer for peer in peers if peer.zone is not None]
    assert {peer.zone for peer in there} <= {HERE.zone}
    return {peer.address for peer in there}


@pytest.mark.parametrize("port", [":8080", ":http", ""])
@pytest.mark.parametrize("kind", ["statefulset", "deployment"])
def test_those_in_the_own_zone_are_told(
    zonal: Cluster, kind: str, port: str, request: pytest.FixtureRequest
) -> None:
    web: Workload = request.getfixturevalue(kind)(replicas=6)
    web.wait(6)
    zones = by_zone(web)
    assert set(zones) == {"zone-a", "zone-b", "zone-c"}
    found = resolve(f"{web.service}.{web.namespace}{port}", source=dns(zonal), me=HERE)
    assert len(found) == 6
    assert told(found) == zones["zone-b"]


def test_so_they_are_over_ipv6(zonal: Cluster, statefulset: Callable[..., Workload]) -> None:
    web = statefulset("web", 6, dual_stack=True)
    web.wait(6)
    families: list[tuple[Literal["any", "ipv4", "ipv6"], int]] = [("ipv6", 6), ("ipv4", 4), ("any", 4)]
    for family, version in families:
        found = resolve(f"web.{web.namespace}:8080", source=dns(zonal, family=family), me=HERE)
        assert told(found) == by_zone(web, version)["zone-b"]


def test_a_picker_follows_the_pods_of_its_zone(zonal: Cluster, statefulset: Callable[..., Workload]) -> None:
    web = statefulset("web", 6)
    web.wait(6)
    with Discovery(f"web.{web.namespace}:8080", source=dns(zonal), me=HERE) as found:
        prefer, only = found.round_robin(zone="prefer"), found.round_robin(zone="only")
        here = by_zone(web)["zone-b"]
        assert {prefer.pick().address for _ in range(12)} == here
        assert {only.pick().address for _ in range(12)} == here
        web.scale(0)
        web.wait(0)
        web.scale(1)
        (pod,) = web.wait(1)
        assert pod.zone == "zone-a"  # the first node, where all have equally many
        eventually(lambda: [peer.address for peer in found.peers] == [pod.ip])
        assert prefer.pick().address == pod.ip
        with pytest.raises(NoPeersError, match="none is in zone-b"):
            only.pick()


PROGRAM = """
import time
from peerdiscover import Discovery

with Discovery("web:8080") as web:
    web.wait(min_peers=6)
    print(*sorted({web.round_robin(zone="only").pick().key for _ in range(30)}), flush=True)
    time.sleep(600)
"""


def test_a_pod_is_told_its_zone_by_its_manifest(zonal: Cluster, statefulset: Callable[..., Workload]) -> None:
    """Nothing is configured but PEERDISCOVER_ZONE: a label that the API server copies from the node."""
    web = statefulset("web", 6)
    web.wait(6)
    label = {"fieldRef": {"fieldPath": "metadata.labels['topology.kubernetes.io/zone']"}}
    client = statefulset(
        "client",
        3,
        command=[sys.executable, "-c", PROGRAM],
        container={"env": [{"name": "PEERDISCOVER_ZONE", "valueFrom": label}]},
    )
    pods = client.wait(3)
    here = {pod.name: {p.name for p in web.pods() if p.zone == pod.zone} for pod in pods}
    for pod, names in here.items():
        eventually(lambda pod=pod: "\n" in zonal.logs(pod, client.namespace))  # type: ignore[misc]
        assert zonal.logs(pod, client.namespace).split() == sorted(names)


@pytest.mark.anyio
async def test_it_is_the_same_awaited(zonal: Cluster, statefulset: Callable[..., Workload]) -> None:
    web = statefulset("web", 6)
    web.wait(6)
    async with AsyncDiscovery(f"web.{web.namespace}:8080", source=dns(zonal), me=HERE) as found:
        only = found.round_robin(zone="only")
        assert {only.pick().address for _ in range(12)} == by_zone(web)["zone-b"]


def test_without_the_option_nobodys_zone_is_told(
    cluster: Cluster, statefulset: Callable[..., Workload], caplog: pytest.LogCaptureFixture
) -> None:
    web = statefulset("web", 3)
    web.wait(3)
    with (
        caplog.at_level(logging.WARNING, logger="peerdiscover"),
        Discovery(f"web.{web.namespace}:8080", source=dns(cluster), me=HERE) as found,
    ):
        assert told(found.peers) == set()
        assert len({found.round_robin(zone="prefer").pick() for _ in range(6)}) == 3
        with pytest.raises(NoPeersError, match="none is in zone-b, or the source reports no zones"):
            found.round_robin(zone="only").pick()
    assert [r.getMessage() for r in caplog.records if "CoreDNS's option zonal" in r.getMessage()]


def test_what_was_told_outlives_a_server_that_tells_no_more(
    zonal: Cluster, statefulset: Callable[..., Workload]
) -> None:
    web = statefulset("web", 6)
    web.wait(6)
    with Discovery(f"web.{web.namespace}:8080", source=dns(zonal), me=HERE) as found:
        here = by_zone(web)["zone-b"]
        zonal.corefile(zonal=False, ttl=1, cache=0)
        for _ in range(3):
            found.refresh()
            assert found.status.outcome is not None
            assert told(found.peers) == here


def test_a_service_without_endpoints_is_no_server_without_zones(
    zonal: Cluster, statefulset: Callable[..., Workload]
) -> None:
    """CoreDNS says NXDOMAIN for the zone-scoped names of such a service, too."""
    web = statefulset("web", 0)
    policy = Policy(min_peers=0)
    with Discovery(f"web.{web.namespace}:8080", source=dns(zonal), policy=policy, me=HERE) as found:
        assert len(found.refresh()) == 0
        web.scale(3)
        web.wait(3)
        found.wait(3, timeout=LONG)
        assert told(found.peers) == by_zone(web)["zone-b"]


# The API tells everybody's zone


def kubernetes(cluster: Cluster) -> Kubernetes:
    return Kubernetes(cluster.server, cluster.ca, cluster.admin_token)


def test_over_the_api_everybodys_zone_is_told_and_the_own_one_is_that_of_oneself(
    cluster: Cluster, statefulset: Callable[..., Workload]
) -> None:
    web = statefulset("web", 7)  # three of them in zone-a
    web.wait(7)
    zones = by_zone(web)
    name = f"web.{web.namespace}:8080"
    with Discovery(name, source=kubernetes(cluster), me=Identity("web-1")) as found:
        assert {peer.address: peer.zone for peer in found.peers} == {pod.ip: pod.zone for pod in web.pods()}
        assert found.peers.me is not None
        own = found.peers.me.zone
        assert own is not None
        others = zones[own] - {found.peers.me.address}
        for zone in "prefer", "only":
            assert {found.round_robin(zone=zone).pick().address for _ in range(12)} == others
        assert {found.rendezvous(zone="only").pick(str(i)).zone for i in range(50)} == {own}
        web.scale(3)  # one in each zone: there is nobody else in the own one
        eventually(lambda: len(found.peers) == 3)
        assert {found.round_robin(zone="prefer").pick().ordinal for _ in range(12)} == {0, 2}
        with pytest.raises(NoPeersError, match=f"no peer is in {own}; there are 1 in zone-., 1 in zone-"):
            found.round_robin(zone="only").pick()


def test_zones_outlive_the_way_over_to_dns(cluster: Cluster, statefulset: Callable[..., Workload]) -> None:
    """DNS tells no zones here; the pods are the same."""
    web = statefulset("web", 6)
    web.wait(6)
    source = Fallback(kubernetes(cluster), dns(cluster))
    with Discovery(f"web.{web.namespace}:8080", source=source, me=Identity("web-1")) as found:
        before = {peer.key: peer.zone for peer in found.peers}
        assert set(before.values()) == {"zone-a", "zone-b", "zone-c"}
        cluster.stop_part("apiserver")
        try:
            eventually(lambda: "Watch failed" in found.explain())
            found.refresh()
            assert {peer.key: peer.zone for peer in found.peers} == before
            assert f"from {cluster.nameserver}" in found.explain()
            assert len({found.round_robin(zone="only").pick() for _ in range(6)}) == 1
        finally:
            cluster.start_part("apiserver")
