"""Zones over CoreDNS's zone-scoped names, of pods that the control plane has placed on nodes."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator

import pytest

from peerdiscover import DNS, AsyncDiscovery, Discovery, Identity, NoPeersError, Peer, Policy, resolve
from tests.cluster import Cluster, Workload
from tests.waiting import eventually

HERE = Identity(zone="zone-b")


@pytest.fixture
def zonal(cluster: Cluster) -> Iterator[Cluster]:
    """The session's cluster, its CoreDNS with zone-scoped names."""
    cluster.corefile(zonal=True, ttl=1, cache=0)
    yield cluster
    cluster.corefile()


def dns(cluster: Cluster, **more: str) -> DNS:
    return DNS([cluster.nameserver], cluster_domain=cluster.cluster_domain, **more)  # type: ignore[arg-type]


def by_zone(workload: Workload, family: int = 4) -> dict[str, set[str]]:
    """The addresses of its pods, by the zone of their nodes, as the API has them."""
    zones: dict[str, set[str]] = {}
    for pod in workload.pods():
        zones.setdefault(pod.zone, set()).update(ip for ip in pod.ips if (":" in ip) == (family == 6))
    return zones


def told(peers: Iterator[Peer]) -> set[str]:
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
    assert told(iter(found)) == zones["zone-b"]


def test_so_they_are_over_ipv6(zonal: Cluster, statefulset: Callable[..., Workload]) -> None:
    web = statefulset("web", 6, dual_stack=True)
    web.wait(6)
    for family, version in ("ipv6", 6), ("ipv4", 4), ("any", 4):
        found = resolve(f"web.{web.namespace}:8080", source=dns(zonal, family=family), me=HERE)
        assert told(iter(found)) == by_zone(web, version)["zone-b"]


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
        eventually(lambda: [peer.address for peer in found.peers] == [pod.ip], 30)
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
        eventually(lambda pod=pod: "\n" in zonal.logs(pod, client.namespace), 30)  # type: ignore[misc]
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
        assert told(iter(found.peers)) == set()
        assert len({found.round_robin(zone="prefer").pick() for _ in range(6)}) == 3
        with pytest.raises(NoPeersError, match="none is in zone-b, or the source does not tell"):
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
            assert told(iter(found.peers)) == here


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
        found.wait(3, timeout=30)
        assert told(iter(found.peers)) == by_zone(web)["zone-b"]
