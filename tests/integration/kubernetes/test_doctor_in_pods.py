"""Mistakes that only show in a running cluster: of nameservers, and of pods that wait for each other.

Each is named, nothing else is an error, and what is printed makes it go.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from peerdiscover.testing import HeadlessService
from tests.cli.running import COMMAND
from tests.tools.cluster import Cluster, Workload
from tests.tools.cluster._network import GATEWAY
from tests.waiting import eventually

from ._doctor import LISTENS, Doctor, apply, found, path
from ._nameserver import coredns
from ._swallowing import Proxy

Make = Callable[..., Workload]

pytestmark = pytest.mark.usefixtures("short_ttl")

NO_TCP = ["ip", "rule", "add", "pref", "2", "iif", "eth0", "ipproto", "tcp", "sport", "53", "blackhole"]
"""In a pod: what a nameserver answers over TCP vanishes, as behind a policy that does not let it through."""


@pytest.fixture
def doctor(cluster: Cluster, namespace: str) -> Doctor:
    return Doctor(cluster, namespace)


def many(doctor: Doctor, pods: int) -> None:
    """A Service `many` with so many pods that are listed and nowhere: doctor is told not to connect."""
    metadata = {"name": "many", "namespace": doctor.namespace}
    ports = [{"name": "http", "port": 8080}]
    apply(
        doctor.cluster,
        {"kind": "Service", "metadata": metadata, "spec": {"clusterIP": "None", "ports": ports}},
    )
    labels = {"kubernetes.io/service-name": "many", "service.kubernetes.io/headless": ""}
    for first in range(0, pods, 1000):  # that many fit into one EndpointSlice
        numbers = range(first, min(pods, first + 1000))
        endpoints = [
            {
                "addresses": [f"10.245.{n // 200}.{n % 200 + 1}"],
                "hostname": f"many-{n}",
                "conditions": {"ready": True},
            }
            for n in numbers
        ]
        sliced = {**metadata, "name": f"many-{first}", "labels": labels}
        apply(
            doctor.cluster,
            {
                "kind": "EndpointSlice",
                "metadata": sliced,
                "addressType": "IPv4",
                "ports": ports,
                "endpoints": endpoints,
            },
        )


def test_the_dns_of_the_node(cluster: Cluster, namespace: str, statefulset: Make, tmp_path: Path) -> None:
    """PD102. A real CoreDNS at the node's address, which forwards to a server that knows no such name."""
    statefulset("web", 1, container=LISTENS).wait(1)
    with (
        HeadlessService("elsewhere.example") as upstream,
        coredns(tmp_path, GATEWAY, 53, f"forward . {upstream.nameserver}"),
    ):
        doctor = Doctor(cluster, namespace, dnsPolicy="Default")
        said = doctor.until({"PD102": "error"}, "web:http")
        field, _, where = found(said, "PD102")["change"].partition(" in ")
        assert where == "the pod's spec"
        cluster.api.patch(doctor.app.path, {"spec": {"template": {"spec": yaml.safe_load(field)}}})
        (doctor.pod,) = doctor.app.wait(1)
        doctor.until({}, "web:http")


def test_the_dns_of_the_cluster_without_a_search_list(
    cluster: Cluster, namespace: str, statefulset: Make
) -> None:
    """It is no node's, and names are asked as absolute ones: nothing is wrong."""
    statefulset("web", 1, container=LISTENS).wait(1)
    config = {"nameservers": [cluster.nameserver]}
    Doctor(cluster, namespace, dnsPolicy="None", dnsConfig=config).until({}, "web:http")


def test_no_dns_over_tcp(doctor: Doctor, statefulset: Make) -> None:
    """PD107. The test is the network's plugin: it lets through what the policy says."""
    policy = {
        "kind": "NetworkPolicy",
        "metadata": {"name": "egress", "namespace": doctor.namespace},
        "spec": {
            "podSelector": {"matchLabels": {"app": doctor.app.name}},
            "policyTypes": ["Egress"],
            "egress": [{"ports": [{"protocol": "UDP", "port": 53}]}, {"ports": [{"port": 8080}]}],
        },
    }
    statefulset("web", 2, container=LISTENS).wait(2)
    apply(doctor.cluster, policy)
    doctor.cluster.exec(doctor.pod.name, doctor.namespace, NO_TCP, check=True)
    said = doctor.until({"PD107": "warning"}, "web:http")
    assert "it works up to about" in found(said, "PD107", "Service")["seen"]

    doctor.mend(found(said, "PD107", "Deployment")["change"])
    rules = doctor.cluster.api.get(path("NetworkPolicy", doctor.namespace, "egress"))["spec"]["egress"]
    assert any({"protocol": "TCP", "port": 53} in rule["ports"] for rule in rules)
    allow = [word.replace("add", "del") for word in NO_TCP]
    doctor.cluster.exec(doctor.pod.name, doctor.namespace, allow, check=True)
    doctor.until({}, "web:http")


def test_no_dns_over_tcp_while_answers_are_cut(doctor: Doctor) -> None:
    """PD107, as an error."""
    many(doctor, 60)
    doctor.until({}, "many:http", "--no-connect")
    doctor.cluster.exec(doctor.pod.name, doctor.namespace, NO_TCP, check=True)
    doctor.until({"PD107": "error"}, "many:http", "--no-connect")


def test_an_answer_that_does_not_fit(doctor: Doctor) -> None:
    """PD108. Over TCP 64 KiB are the end, with any nameserver; the name that is printed asks none."""
    many(doctor, 1500)
    said = doctor.until({"PD108": "warning"}, "many:http", "--no-connect")
    name = found(said, "PD108")["change"].removeprefix("the name: ")
    assert name == "k8s:many:http"
    doctor.until({}, name, "--no-connect")


def test_a_nameserver_that_lost_its_watch(
    doctor: Doctor, cluster: Cluster, statefulset: Make, tmp_path: Path
) -> None:
    """PD109. It goes on answering from what it knew, until it is started anew."""
    web = statefulset("web", 2, container=LISTENS)
    web.wait(2)
    kubeconfig, stale = cluster.kubeconfig, tmp_path / "kubeconfig"
    serves = "kubernetes cluster.local {{\n        kubeconfig {}\n        ttl 1\n    }}"
    with ExitStack() as watch:
        proxy = watch.enter_context(Proxy(cluster))
        stale.write_text(kubeconfig.read_text().replace(cluster.server, proxy.server))
        with coredns(tmp_path, cluster.nameserver, 5353, serves.format(stale)) as other:
            arguments = ["web:http", "--nameserver", cluster.nameserver, "--nameserver", other]
            doctor.until({}, *arguments)
            watch.close()
            web.scale(3)
            web.wait(3)
            said = doctor.until({"PD109": "warning"}, *arguments)
            assert found(said, "PD109")["seen"] == "5 of 10 answers lack web-2"
            said = doctor.until({"PD109": "warning"}, "web:http", "--nameserver", other)
            assert found(said, "PD109")["seen"] == "5 answers lack pods that are ready in the EndpointSlices"
            assert "may have lost its watch" in found(said, "PD109")["change"]
    with coredns(tmp_path, cluster.nameserver, 5353, serves.format(kubeconfig)):
        doctor.until({}, *arguments)


WAITS = f"{COMMAND} wait NAME:http --min 2 && exec {sys.executable} -m http.server 8080"


def waiting(statefulset: Make, name: str, **options: object) -> Workload:
    command = ["sh", "-c", WAITS.replace("NAME", name)]
    return statefulset(name, 2, command=command, container=LISTENS, **options)


def test_pods_that_wait_for_themselves(doctor: Doctor, statefulset: Make) -> None:
    """PD403. What is printed lets them start."""
    web = waiting(statefulset, "web")
    web.until(lambda pods: len(pods) == 2 and all(pod.ip for pod in pods))
    said = doctor.until({"PD403": "error"}, "web:http")
    assert doctor.offline("web:http") == {"PD403": "error"}
    doctor.mend(found(said, "PD403")["change"])
    web.wait(2)
    doctor.until({}, "web:http")


def test_pods_that_start_one_after_the_other_and_wait(doctor: Doctor, statefulset: Make) -> None:
    """PD403, and what it looks like from outside: the first pod is listed, and not ready (PD307)."""
    web = waiting(statefulset, "web", publish_not_ready=True, pod_management="OrderedReady")
    web.until(lambda pods: len(pods) == 1 and all(pod.ip for pod in pods))
    said = doctor.until({"PD403": "error", "PD307": "warning"}, "web:http")
    doctor.mend(found(said, "PD403")["change"])
    eventually(lambda: len(web.pods()) == 2)
    web.wait(2)
    doctor.until({}, "web:http")
