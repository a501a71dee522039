"""What tests break: parts of the control plane, and single pods, without a word to anybody."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any
from urllib.request import Request, urlopen

import httpx
import pytest

from tests.tools.cluster import Cluster, ClusterError, Workload
from tests.waiting import LONG

from ._dns import addresses, ask

Make = Callable[..., Workload]


def test_the_api_server_ends_and_comes_back(cluster: Cluster, statefulset: Make) -> None:
    web = statefulset("web", 1)
    before = web.wait()
    cluster.stop_part("apiserver")
    try:
        with pytest.raises(httpx.ConnectError):
            cluster.api.get("/version")
        assert addresses(cluster, web.fqdn) == {before[0].ip}  # CoreDNS goes on with what it knows
    finally:
        cluster.start_part("apiserver")
    assert web.wait() == before
    web.scale(2)
    assert len(web.wait(2)) == 2  # the controllers and the agent have found it again


def test_a_paused_api_server_answers_nothing(cluster: Cluster) -> None:
    cluster.pause_part("apiserver")
    try:
        with (
            socket.create_connection(("10.96.0.1", 443), timeout=5) as connection,
            pytest.raises(TimeoutError),
        ):
            ssl.create_default_context(cafile=str(cluster.ca)).wrap_socket(
                connection, server_hostname="10.96.0.1"
            )
    finally:
        cluster.resume_part("apiserver")
    assert cluster.api.get("/version")["major"] == "1"


def test_coredns_is_killed_and_comes_back(cluster: Cluster, statefulset: Make) -> None:
    web = statefulset("web", 2)
    pods = {pod.ip for pod in web.wait()}
    cluster.kill_part("coredns")
    try:
        with pytest.raises(OSError, match="refused"):
            ask(cluster, web.fqdn)
    finally:
        cluster.start_part("coredns")
    assert addresses(cluster, web.fqdn) == pods


def test_etcd_and_controllers_end_and_come_back(cluster: Cluster, statefulset: Make) -> None:
    web = statefulset("web", 1)
    web.wait()
    for part in ("controllers", "etcd"):
        cluster.kill_part(part)
    for part in ("etcd", "controllers"):
        cluster.start_part(part)
    web.scale(2)
    assert len(web.wait(2)) == 2


def test_parts_that_a_test_left_are_mended(cluster: Cluster) -> None:
    cluster.kill_part("coredns")
    cluster.pause_part("controllers")
    cluster.stop_part("apiserver")
    cluster.mend()
    assert addresses(cluster, f"kubernetes.default.svc.{cluster.cluster_domain}") == {"10.96.0.1"}


def test_a_part_that_there_is_not(cluster: Cluster) -> None:
    with pytest.raises(ValueError, match="'scheduler' is no part: coredns, controllers, apiserver, etcd"):
        cluster.stop_part("scheduler")


def test_old_versions_are_gone_after_compaction(cluster: Cluster, statefulset: Make) -> None:
    web = statefulset("web", 1)
    web.wait()
    slices = cluster.api.path("EndpointSlice", web.namespace)
    old = cluster.api.get(slices)["metadata"]["resourceVersion"]
    web.scale(2)
    web.wait(2)
    watch = f"{slices}?watch=1&resourceVersion={old}&timeoutSeconds=1"
    assert {event["type"] for event in _events(cluster, watch)} <= {"ADDED", "MODIFIED"}
    cluster.compact()
    (event,) = _events(cluster, watch)
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)
    assert len(web.wait(2)) == 2


def test_a_black_hole_is_silent_both_ways_and_heals(cluster: Cluster, any_workload: Workload) -> None:
    victim, other = any_workload.wait(2)
    client = _Client(victim.ip)
    assert client.asks() == victim.name
    cluster.blackhole(victim.name, any_workload.namespace)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        client.asks(timeout=1)
    # Longer than ARP takes to give up, which would be told as EHOSTUNREACH.
    with pytest.raises(TimeoutError):
        socket.create_connection((victim.ip, 8080), timeout=4)
    assert time.monotonic() - began >= 5
    assert _Client(other.ip).asks() == other.name
    assert victim.ip in addresses(cluster, any_workload.fqdn)
    cluster.heal(victim.name, any_workload.namespace)
    assert client.hears(timeout=LONG) == victim.name  # TCP sent the lost question again
    assert _Client(victim.ip).asks() == victim.name


def test_a_black_hole_swallows_datagrams(cluster: Cluster, statefulset: Make) -> None:
    web = statefulset("web", 1)
    pod = web.wait()[0]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.settimeout(LONG)
        probe.connect((pod.ip, 9))
        probe.send(b"?")
        with pytest.raises(ConnectionRefusedError):  # ICMP: nobody listens there
            probe.recv(1)
        probe.settimeout(0.5)
        cluster.blackhole("web-0", web.namespace)
        probe.send(b"?")
        with pytest.raises(TimeoutError):
            probe.recv(1)
        cluster.heal("web-0", web.namespace)


def test_a_black_hole_of_ipv6(cluster: Cluster, statefulset: Make) -> None:
    web = statefulset("web", 1, dual_stack=True)
    address = web.wait()[0].ips[1]
    socket.create_connection((address, 8080), timeout=LONG).close()
    cluster.blackhole("web-0", web.namespace)
    with pytest.raises(TimeoutError):
        socket.create_connection((address, 8080), timeout=4)
    cluster.heal("web-0", web.namespace)
    socket.create_connection((address, 8080), timeout=LONG).close()


def test_a_pod_vanishes_without_a_word(any_workload: Workload) -> None:
    victim = any_workload.wait(2)[0]
    client = _Client(victim.ip)
    assert client.asks() == victim.name
    any_workload.vanish(victim.name)
    any_workload.until(lambda pods: victim.uid not in {pod.uid for pod in pods})
    with pytest.raises(TimeoutError):
        client.hears(timeout=1)
    with pytest.raises(TimeoutError):
        client.asks(timeout=1)


def test_an_address_is_used_again_by_another_pod(cluster: Cluster, namespace: str) -> None:
    first = cluster.statefulset("old", 1, namespace=namespace, annotations={"test/ip": "10.244.200.7"})
    assert first.wait()[0].ip == "10.244.200.7"
    assert _Client("10.244.200.7").asks() == "old-0"
    first.scale(0)
    first.wait(0)
    first.until(lambda pods: not pods)
    second = cluster.statefulset("new", 1, namespace=namespace, annotations={"test/ip": "10.244.200.7"})
    assert second.wait()[0].ip == "10.244.200.7"
    assert _Client("10.244.200.7").asks() == "new-0"


def test_nobody_to_hurt(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(ClusterError, match=f"there is no pod {namespace}/web-0"):
        cluster.blackhole("web-0", namespace)


def _events(cluster: Cluster, path: str) -> list[dict[str, Any]]:
    """What a watch says until its time is over."""
    context = ssl.create_default_context(cafile=str(cluster.ca))
    request = Request(f"{cluster.server}{path}", headers={"Authorization": "Bearer admin-token"})
    with urlopen(request, timeout=10, context=context) as stream:
        return [json.loads(line) for line in stream]


class _Client:
    """A connection that is kept."""

    def __init__(self, address: str) -> None:
        self._socket = socket.create_connection((address, 8080), timeout=LONG)

    def asks(self, timeout: float = LONG) -> str:
        self._socket.sendall(b"GET / HTTP/1.1\r\nHost: pod\r\n\r\n")
        return self.hears(timeout)

    def hears(self, timeout: float = LONG) -> str:
        self._socket.settimeout(timeout)
        said = b""
        while b"}" not in said:
            said += self._socket.recv(4096)
        return str(json.loads(said.partition(b"\r\n\r\n")[2])["pod"])

    def __del__(self) -> None:
        self._socket.close()
