"""Pods come up, are found by CoreDNS and by the API, are scaled, replaced and deleted."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from urllib.request import urlopen

import pytest

from tests.tools.cluster import Cluster, Workload
from tests.waiting import LONG

from ._dns import addresses, ask

Make = Callable[..., Workload]


def test_a_statefulset_is_there_by_its_names(cluster: Cluster, statefulset: Make) -> None:
    web = statefulset("web", 3)
    pods = web.wait()
    assert [pod.name for pod in pods] == ["web-0", "web-1", "web-2"]
    assert addresses(cluster, web.fqdn) == {pod.ip for pod in pods}
    assert addresses(cluster, f"web-1.{web.fqdn}") == {pods[1].ip}


def test_a_served_pod_answers_with_its_name(statefulset: Make) -> None:
    pod = statefulset("web", 1).wait()[0]
    with urlopen(f"http://{pod.ip}:8080/a?b", timeout=LONG) as answer:
        said = json.load(answer)
    assert (said["pod"], said["ip"], said["path"]) == ("web-0", pod.ip, "/a?b")


def test_scaling(statefulset: Make) -> None:
    web = statefulset("web", 1)
    web.wait(1)
    for replicas in (4, 0, 2):
        web.scale(replicas)
        assert len(web.wait(replicas)) == replicas


def test_a_rolling_restart_replaces_every_pod(statefulset: Make) -> None:
    web = statefulset("web", 3)
    before = {pod.uid for pod in web.wait()}
    web.restart()
    after = web.wait()
    assert len(after) == 3
    assert before.isdisjoint(pod.uid for pod in after)


def test_a_regular_service_has_one_address_that_is_no_pods(cluster: Cluster, deployment: Make) -> None:
    app = deployment("app", 2, headless=False)
    pods = app.wait()
    (virtual,) = addresses(cluster, app.fqdn)
    assert virtual.startswith("10.96.")
    assert virtual not in {pod.ip for pod in pods}


def test_what_is_not_there_has_no_name(cluster: Cluster) -> None:
    assert ask(cluster, f"nobody.default.svc.{cluster.cluster_domain}").rcode_name == "NXDOMAIN"


def test_a_deleted_pod_says_goodbye(statefulset: Make) -> None:
    web = statefulset("web", 1, annotations={"test/linger": "0"})
    pod = web.wait()[0]
    with socket.create_connection((pod.ip, 8080), timeout=LONG) as connection:
        web.delete_pod("web-0")
        assert connection.recv(1) == b""  # FIN


def test_pods_stand_in_different_zones(cluster: Cluster, statefulset: Make) -> None:
    web = statefulset("web", 3)
    pods = web.wait()
    assert {pod.zone for pod in pods} == {"zone-a", "zone-b", "zone-c"}
    (item,) = cluster.api.list("EndpointSlice", web.namespace)
    assert {(e["nodeName"], e["zone"]) for e in item["endpoints"]} == {(pod.node, pod.zone) for pod in pods}


@pytest.mark.parametrize("publish", [False, True])
def test_unready_pods_are_published_where_the_service_wants_it(
    cluster: Cluster, statefulset: Make, *, publish: bool
) -> None:
    web = statefulset("web", 2, publish_not_ready=publish)
    pods = web.wait()
    web.set_ready("web-0", ready=False)
    web.until(lambda pods: not pods[0].ready)
    while not publish and _condition(cluster, web, pods[0].ip):
        pass  # the controller follows in a moment
    assert _condition(cluster, web, pods[0].ip) is publish


def _condition(cluster: Cluster, web: Workload, address: str) -> bool:
    (item,) = cluster.api.list("EndpointSlice", web.namespace)
    return any(e["addresses"] == [address] and e["conditions"]["ready"] for e in item["endpoints"])
