"""Pods that run the library itself, as processes of their own, with nothing set but the Service's name."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.tools.cluster import Cluster, Workload
from tests.waiting import eventually

from ._watched import places

Make = Callable[..., Workload]

pytestmark = pytest.mark.usefixtures("short_ttl")

MEMBER = [sys.executable, str(Path(__file__).with_name("_member.py"))]
COMMAND = [sys.executable, "-m", "peerdiscover"]
MANIFESTS = Path(__file__).parents[3] / "examples" / "manifests"
LISTENS = {"readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}}


def printed(cluster: Cluster, pod: str, namespace: str) -> str:
    """What a pod has printed up to now; nothing, where it has not begun."""
    with suppress(FileNotFoundError):
        return cluster.logs(pod, namespace)
    return ""


def told(cluster: Cluster, pod: str, namespace: str) -> list[dict[str, Any]]:
    """What a member has said up to now."""
    lines = printed(cluster, pod, namespace).splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]


def says(
    cluster: Cluster, pod: str, namespace: str, wanted: Callable[[dict[str, Any]], bool]
) -> dict[str, Any]:
    """Waits until the last thing that a member said is what is wanted."""
    try:
        eventually(lambda: bool(said := told(cluster, pod, namespace)) and wanted(said[-1]))
    except AssertionError as error:
        raise AssertionError(f"{error}; {pod} said:\n{printed(cluster, pod, namespace)}") from None
    return told(cluster, pod, namespace)[-1]


def members(cluster: Cluster, web: Workload, count: int, domain: str) -> None:
    """Each knows everybody, and which of them it is."""
    there = dict(places(web.wait(count)))
    for pod in there:
        said = says(cluster, pod, web.namespace, lambda said: said["peers"] == there)
        assert said["me"] == pod
        assert said["others"] == sorted(set(there) - {pod})
        assert said["fqdn"] == f"{pod}.{web.service}.{web.namespace}.svc.{domain}."
        assert said["kind"] == "headless"


def test_members_of_a_statefulset_find_one_another(cluster: Cluster, statefulset: Make) -> None:
    """And go on to: when one is added, and when all were replaced one by one."""
    web = statefulset("web", 3, command=[*MEMBER, "web:http", "3"], container=LISTENS)
    members(cluster, web, 3, "cluster.local")
    web.scale(4)
    members(cluster, web, 4, "cluster.local")
    web.restart()
    members(cluster, web, 4, "cluster.local")


def test_members_of_a_deployment_know_themselves_by_address(cluster: Cluster, deployment: Make) -> None:
    app = deployment("app", 3, command=[*MEMBER, "app:http", "3"], container=LISTENS)
    pods = app.wait(3)
    everybody = {f"{pod.ip}:8080": pod.ip for pod in pods}
    for pod in pods:
        said = says(cluster, pod.name, app.namespace, lambda said: said["peers"] == everybody)
        assert said["me"] == f"{pod.ip}:8080"


def test_a_pod_of_the_same_name_in_another_namespace_is_not_oneself(
    cluster: Cluster, statefulset: Make
) -> None:
    """A web-0 looks at the web-0 of another namespace."""
    elsewhere = cluster.namespace()
    there = cluster.statefulset("web", 2, namespace=elsewhere)
    there.wait(2)
    web = statefulset("web", 1, command=[*MEMBER, f"web.{elsewhere}:http", "2"], container=LISTENS)
    web.wait(1)
    said = says(cluster, "web-0", web.namespace, lambda said: len(said["peers"]) == 2)
    assert said["others"] == ["web-0", "web-1"]
    assert said["me"] is None
    cluster.delete_namespace(elsewhere)


def test_a_pod_waits_for_its_peers_before_it_starts(
    cluster: Cluster, statefulset: Make, deployment: Make
) -> None:
    """`peerdiscover wait` as an init container."""
    first = {"name": "first", "image": "test", "command": [*COMMAND, "wait", "db:http", "--min", "3"]}
    db = statefulset("db", 2)
    db.wait(2)
    app = deployment("app", 1, command=["sleep", "600"], pod={"initContainers": [first]})
    (pod,) = app.until(lambda pods: len(pods) == 1)
    assert not pod.ready
    db.scale(3)
    db.wait(3)
    (pod,) = app.wait(1)
    output = printed(cluster, pod.name, app.namespace)
    assert output.startswith("db:http: headless, 3 pods\n")
    assert re.findall(r"^  (\S+)  ", output, re.MULTILINE) == ["db-0", "db-1", "db-2"]


def test_a_pod_waits_until_dns_knows_itself(cluster: Cluster, statefulset: Make) -> None:
    """`wait --self` as an entrypoint, with publishNotReadyAddresses: it is ready when that is over."""
    script = f"{shlex.join(COMMAND)} wait web:http --self && exec {shlex.join(MEMBER)} web:http 2"
    web = statefulset("web", 2, command=["sh", "-c", script], container=LISTENS, publish_not_ready=True)
    for pod in web.wait(2):
        output = printed(cluster, pod.name, web.namespace)
        own = next(line for line in output.splitlines() if line.endswith("(self)"))
        assert own.split()[:2] == [pod.name, f"{pod.ip}:8080"]
        says(cluster, pod.name, web.namespace, lambda said, me=pod.name: said["me"] == me)  # type: ignore[misc]


def test_waiting_for_oneself_is_in_vain_where_only_ready_pods_are_published(
    cluster: Cluster, statefulset: Make
) -> None:
    web = statefulset(
        "web",
        1,
        command=[
            "sh",
            "-c",
            f"{shlex.join(COMMAND)} wait web:http --self --timeout 2; echo status $?; exec sleep 600",
        ],
        container=LISTENS,
    )
    web.until(lambda pods: len(pods) == 1)
    eventually(lambda: "status " in printed(cluster, "web-0", web.namespace))
    output = printed(cluster, "web-0", web.namespace)
    assert "status 1" in output
    assert "publishNotReadyAddresses: true" in output


# Over the API


def may_read(cluster: Cluster, namespace: str) -> None:
    """Applies the manifest for a namespace of the test."""
    manifest = (MANIFESTS / "read-endpointslices.yaml").read_text()
    cluster.api.apply(manifest.replace("namespace: moon", f"namespace: {namespace}"))


def warnings(cluster: Cluster, pod: str, namespace: str) -> list[str]:
    """What a member has logged up to now."""
    return [line for line in printed(cluster, pod, namespace).splitlines() if line.startswith("WARNING ")]


@pytest.mark.parametrize("scheme", ["k8s", "auto"])
def test_members_that_may_read_find_one_another_over_the_api(
    cluster: Cluster, namespace: str, statefulset: Make, scheme: str
) -> None:
    """As over DNS: the same keys, addresses and names, and they know themselves. No word of warning."""
    may_read(cluster, namespace)
    pod = {"serviceAccountName": "read-endpointslices"}
    web = statefulset("web", 3, command=[*MEMBER, f"{scheme}:web:http", "3"], container=LISTENS, pod=pod)
    members(cluster, web, 3, "cluster.local")
    web.scale(4)
    members(cluster, web, 4, "cluster.local")
    assert [warnings(cluster, f"web-{i}", namespace) for i in range(4)] == [[]] * 4


def test_members_that_may_not_read_go_over_to_dns(
    cluster: Cluster, namespace: str, statefulset: Make
) -> None:
    """`auto:`, and each says so once, with the reason."""
    web = statefulset("web", 3, command=[*MEMBER, "auto:web:http", "3"], container=LISTENS)
    members(cluster, web, 3, "cluster.local")
    web.scale(4)
    members(cluster, web, 4, "cluster.local")
    for i in range(4):
        (said,) = warnings(cluster, f"web-{i}", namespace)
        assert said.endswith(f"may not be read by system:serviceaccount:{namespace}:default.")


def test_a_pod_that_may_not_read_and_must_ends_with_what_to_apply(
    cluster: Cluster, namespace: str, statefulset: Make
) -> None:
    """`k8s:` never falls back. What the error says, applied, lets the next start succeed."""
    wait = [*COMMAND, "wait", "k8s:web:http", "--min", "2"]
    statefulset("web", 2).wait(2)
    script = f"{shlex.join(wait)}; echo status $?; exec sleep 600"
    client = statefulset("client", 1, command=["sh", "-c", script])
    client.wait(1)
    eventually(lambda: "status " in printed(cluster, "client-0", namespace))
    output = printed(cluster, "client-0", namespace)
    assert "status 2" in output
    manifest = output.rpartition("`kubectl apply -f -`:\n")[2].partition("status 2")[0]
    cluster.api.apply(manifest)
    eventually(lambda: cluster.exec("client-0", namespace, wait).returncode == 0)


def test_members_in_a_cluster_of_another_domain(own_cluster: Callable[..., Cluster]) -> None:
    """The search list of resolv.conf says which it is."""
    cluster = own_cluster(cluster_domain="k8s.example.com", ttl=1, cache=0)
    namespace = cluster.namespace()
    web = cluster.statefulset(
        "web", 3, namespace=namespace, command=[*MEMBER, "web:http", "3"], container=LISTENS
    )
    members(cluster, web, 3, "k8s.example.com")
