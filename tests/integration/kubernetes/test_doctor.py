"""`peerdiscover doctor` in pods of a real cluster: each mistake that can be made there, and good Services."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tools.cluster import Cluster, Workload
from tests.tools.cluster._network import GATEWAY
from tests.waiting import eventually

from ._doctor import DOCTOR, LISTENS, MANIFESTS, Doctor, apply, found, levels, path

Make = Callable[..., Workload]
Json = dict[str, Any]

pytestmark = pytest.mark.usefixtures("short_ttl")

ROOT = Path(__file__).parents[3]
PAGE, README = (ROOT / "docs" / "doctor.md").read_text(), (ROOT / "README.md").read_text()
NEVER = {"readinessProbe": {"tcpSocket": {"port": 1}, "periodSeconds": 1}}


@pytest.fixture
def doctor(cluster: Cluster, namespace: str) -> Doctor:
    return Doctor(cluster, namespace)


def test_good_services_are_clean(doctor: Doctor, statefulset: Make, deployment: Make) -> None:
    statefulset("web", 3, container=LISTENS).wait(3)
    deployment("app", 2, container=LISTENS).wait(2)
    for name in "web:http", "web:8080", "web", "app:http", f"web.{doctor.namespace}.svc.cluster.local:http":
        said = doctor.run(name, "--strict")
        assert {one["code"] for one in said["findings"]} <= {"PD404"}, said["findings"]
        assert not {"PD101", "PD105", "PD201", "PD302"} - set(said["passed"])
        reasons = [one["why"] for one in said["not_checked"]]
        assert reasons == [], reasons


def test_who_asks_in_the_set_knows_itself(doctor: Doctor, statefulset: Make) -> None:
    pod = {"serviceAccountName": "doctor"}
    web = statefulset("web", 2, command=["python3", "-m", "http.server", "8080"], container=LISTENS, pod=pod)
    web.wait(2)
    said = doctor.run("web:http", pod="web-0")
    assert said["asked_from"] == f"web-0 in {doctor.namespace}"
    assert "PD204" in said["passed"]
    assert "PD203" in said["passed"]


def test_listening_on_loopback(doctor: Doctor, cluster: Cluster, statefulset: Make) -> None:
    command = ["python3", "-m", "http.server", "8080", "--bind", "127.0.0.1"]
    web = statefulset("web", 1, command=command, pod={"serviceAccountName": "doctor"})
    web.wait(1)
    eventually(lambda: doctor.levels("web:http", pod="web-0").keys() >= {"PD201", "PD203"})
    said = doctor.run("web:http", pod="web-0")
    assert levels(said) == {"PD201": "error", "PD203": "error", "PD402": "warning"}
    assert found(said, "PD203")["change"] == "--host 0.0.0.0 (or ::) of the server"
    container = {"name": "main", "command": [*command[:-1], "0.0.0.0"]}
    cluster.api.patch(web.path, {"spec": {"template": {"spec": {"containers": [container]}}}})
    web.wait(1)
    eventually(lambda: doctor.levels("web:http", pod="web-0") == {"PD402": "warning"})


def test_a_pod_that_sends_from_another_address(cluster: Cluster, namespace: str, deployment: Make) -> None:
    """PD204. With a second network a pod may not see by which address it is listed."""
    doctor = Doctor(cluster, namespace)
    command = ["python3", "-m", "http.server", "8080"]
    app = deployment("app", 1, command=command, container=LISTENS, pod={"serviceAccountName": "doctor"})

    def with_another(address: str) -> str:
        (pod,) = app.wait(1)
        cluster.exec(pod.name, namespace, ["ip", "addr", "add", f"{address}/32", "dev", "eth0"], check=True)
        route = ["default", "via", GATEWAY, "src", address]
        cluster.exec(pod.name, namespace, ["ip", "route", "replace", *route], check=True)
        return pod.name

    said = doctor.run("app:http", pod=with_another("10.244.254.8"))
    assert levels(said) == {"PD204": "warning"}
    assert found(said, "PD204")["change"] == "POD_NAME and POD_IP by the downward API"
    env = [
        {"name": name, "valueFrom": {"fieldRef": {"fieldPath": field}}}
        for name, field in (("POD_NAME", "metadata.name"), ("POD_IP", "status.podIP"))
    ]
    container = {"name": "main", "env": env}
    cluster.api.patch(app.path, {"spec": {"template": {"spec": {"containers": [container]}}}})
    assert doctor.levels("app:http", pod=with_another("10.244.254.9")) == {}


def test_rolling_restarts_outrun_dns(doctor: Doctor, statefulset: Make) -> None:
    """PD404, which is a note: the changes make it go, one after the other."""
    statefulset("web", 2, container=LISTENS).wait(2)
    said = doctor.until({}, "web:http")
    doctor.mend(found(said, "PD404")["change"])
    finding = found(doctor.until({}, "web:http"), "PD404")
    field, _, when = finding["change"].partition(", ")
    assert (field, when) == (
        "podManagementPolicy: OrderedReady",
        "if this cluster does so (kubernetes #112066)",
    )
    doctor.mend(f"{finding['object']}\n  spec:\n    {field}")
    assert "PD404" in doctor.until({}, "web:http")["passed"]


def test_there_is_no_such_service(doctor: Doctor, statefulset: Make) -> None:
    statefulset("web", 1, container=LISTENS).wait(1)
    said = doctor.run("wbe:http")
    (finding,) = (one for one in said["findings"] if one["level"] != "note")
    assert finding["code"] == "PD104"
    assert f"there is no Service wbe in {doctor.namespace}; Services there: " in finding["seen"]
    assert finding["change"] == "the Service's name and namespace"
    doctor.until({}, "web:http")


def test_no_pod_is_ready(doctor: Doctor, statefulset: Make) -> None:
    web = statefulset("web", 2, container=NEVER)
    web.until(lambda pods: len(pods) == 2 and all(pod.ip for pod in pods))
    eventually(lambda: doctor.levels("web:http") == {"PD104": "error"})
    (finding,) = (one for one in doctor.run("web:http")["findings"] if one["code"] == "PD104")
    assert "2 pods, none ready: web-0 " in finding["seen"]
    assert finding["object"] == f"Service {doctor.namespace}/web"
    assert finding["change"].endswith("or publishNotReadyAddresses: true")
    doctor.change("Service", "web", publishNotReadyAddresses=True)
    doctor.until({"PD307": "warning"}, "web:http")


def test_no_pod_was_made(doctor: Doctor, statefulset: Make) -> None:
    web = statefulset("web", 0, container=LISTENS)
    said = doctor.run("web:http")
    (finding,) = (one for one in said["findings"] if one["level"] != "note")
    assert (finding["code"], finding["seen"]) == ("PD104", "no pod was made yet")
    web.scale(1)
    doctor.until({}, "web:http")


def test_not_headless(doctor: Doctor, deployment: Make) -> None:
    deployment("app", 2, container=LISTENS, headless=False).wait(2)
    doctor.until({"PD105": "error"}, "app:8080")


def test_ports(doctor: Doctor, statefulset: Make) -> None:
    statefulset("web", 2, container=LISTENS).wait(2)
    said = doctor.until({"PD106": "error"}, "web:metrics")
    assert doctor.offline("web:metrics") == {"PD106": "error"}
    doctor.until({}, said["findings"][0]["change"].removeprefix("the name: "))
    doctor.until({"PD106": "warning", "PD201": "error"}, "web:81")
    assert doctor.offline("web:81") == {"PD106": "warning"}
    ports = [{"name": "http", "port": 80, "targetPort": 9999}]
    doctor.change("Service", "web", ports=ports)
    doctor.until({"PD201": "error", "PD303": "warning", "PD304": "warning"}, "web:http")
    finding = found(doctor.run("web:http"), "PD201")
    assert "they accept at 8080" in finding["seen"]
    name = finding["change"].removeprefix("the name: ")
    assert name == f"web.{doctor.namespace}:8080"
    assert "PD201" not in doctor.levels(name)


def test_a_pod_that_does_not_answer(doctor: Doctor, statefulset: Make, cluster: Cluster) -> None:
    statefulset("web", 2).wait(2)
    cluster.blackhole("web-1", doctor.namespace)
    doctor.until({"PD202": "error", "PD402": "warning"}, "web:http")
    cluster.heal("web-1", doctor.namespace)
    doctor.until({"PD402": "warning"}, "web:http")


def test_no_nameserver_answers(doctor: Doctor, statefulset: Make, cluster: Cluster) -> None:
    statefulset("web", 1, container=LISTENS).wait(1)
    cluster.pause_part("coredns")
    said = doctor.run("web:http")
    cluster.resume_part("coredns")
    assert levels(said) == {"PD101": "error"}
    codes = {code for one in said["not_checked"] for code in one["codes"]}
    assert codes >= {"PD104", "PD106", "PD109", "PD201", "PD202"}
    doctor.until({}, "web:http")


def test_another_cluster_domain(doctor: Doctor, statefulset: Make) -> None:
    statefulset("web", 1, container=LISTENS).wait(1)
    said = doctor.run("web:http", "--cluster-domain", "corp.example")
    assert levels(said) == {"PD103": "error"}
    setting, _, without = found(said, "PD103")["change"].partition(", ")
    assert without == "or no setting at all"
    doctor.until({}, "web:http", "--cluster-domain", setting.removeprefix("PEERDISCOVER_CLUSTER_DOMAIN="))
    doctor.until({}, "web:http")


def test_unready_pods_are_listed(doctor: Doctor, cluster: Cluster, statefulset: Make) -> None:
    web = statefulset("web", 2, container=LISTENS, publish_not_ready=True)
    web.wait(2)
    web.set_ready("web-1", False)
    said = doctor.until({"PD307": "warning"}, "web:http")
    assert doctor.offline("web:http") == {"PD307": "warning"}
    change = "a second headless Service without publishNotReadyAddresses, for requests"
    assert found(said, "PD307")["change"] == change
    service = cluster.api.get(path("Service", doctor.namespace, "web"))["spec"]
    spec = {key: service[key] for key in ("clusterIP", "ports", "selector")}
    metadata = {"name": "requests", "namespace": doctor.namespace}
    apply(cluster, {"kind": "Service", "metadata": metadata, "spec": spec})
    doctor.until({}, "requests:http")


def test_the_right_to_read_is_missing(cluster: Cluster, namespace: str, statefulset: Make) -> None:
    plain = Doctor(cluster, namespace, account="default")
    statefulset("web", 1, container=LISTENS).wait(1)
    assert plain.levels("k8s:web:http") == {"PD501": "error"}
    assert plain.levels("auto:web:http") == {"PD501": "warning"}
    (finding,) = (one for one in plain.run("k8s:web:http")["findings"] if one["code"] == "PD501")
    cluster.api.apply(finding["change"])
    plain.until({}, "k8s:web:http")


def test_two_statefulsets_share_a_service(doctor: Doctor, statefulset: Make, cluster: Cluster) -> None:
    statefulset("web", 1, container=LISTENS).wait(1)
    another = statefulset("db", 1, service="web", container=LISTENS)
    doctor.change("Service", "web", selector={"tier": "all"})
    for name in "web", "db":
        patch: Json = {"spec": {"template": {"metadata": {"labels": {"tier": "all"}}}}}
        cluster.api.patch(cluster.api.path("StatefulSet", doctor.namespace, name), patch)
    assert another
    eventually(lambda: doctor.levels("web:http").get("PD205") == "warning")


def test_three_levels_of_rights(cluster: Cluster, namespace: str, statefulset: Make) -> None:
    """The more may be read, the less is not checked; what was found stays found."""
    everything = Doctor(cluster, namespace)
    slices = (MANIFESTS / "read-endpointslices.yaml").read_text().replace("moon", namespace)
    cluster.api.apply(slices)
    some = Doctor(cluster, namespace, account="read-endpointslices")
    none = Doctor(cluster, namespace, account="default")
    statefulset("web", 2).wait(2)
    everything.change("Service", "web", ports=[{"name": "http", "port": 80, "targetPort": 8080}])
    everything.until({"PD303": "warning", "PD402": "warning"}, "web:http")

    said = [one.run("web:http") for one in (none, some, everything)]
    found = [{one["code"] for one in each["findings"]} for each in said]
    missing = [{code for one in each["not_checked"] for code in one["codes"]} for each in said]
    assert found[0] <= found[1] <= found[2]
    assert missing[0] > missing[1] > missing[2] == set()
    assert {"PD302", "PD307"} <= missing[0] - missing[1]
    assert all(not of & without for of, without in zip(found, missing, strict=True))
    reasons = {one["why"] for one in said[0]["not_checked"]}
    who = f"system:serviceaccount:{namespace}:default"
    assert f"networkpolicies of {namespace}: may not be listed by {who}" in reasons


def shape(output: str, namespace: str) -> str:
    """In one line, without what differs from run to run: addresses, times, names of pods."""
    text = re.sub(r"\d+\.\d+ (ms|s)\b", r"N \1", output.replace(namespace, "moon"))
    text = re.sub(r"10\.\d+\.\d+\.\d+|client-\S+|(?<=TTL )\d", "N", text)
    return " ".join(text.split())


def test_the_trap_as_the_readme_shows_it(cluster: Cluster, namespace: str) -> None:
    """examples/manifests/trap.yaml in a namespace of the test, and the picture in docs/doctor.md."""
    cluster.api.apply((MANIFESTS / "trap.yaml").read_text().replace("moon", namespace))
    app = Workload(cluster, "Deployment", "app", namespace, "headless-svc")
    app.wait(3)
    doctor = Doctor(cluster, namespace)
    expected = {"PD201": "error", "PD303": "warning", "PD304": "warning"}
    doctor.until(expected, "headless-svc")
    done = cluster.exec(doctor.pod.name, namespace, [*DOCTOR, "headless-svc.moon".replace("moon", namespace)])
    shown = shape(done.stdout, namespace)
    (picture,) = re.findall(
        r"```console\n\$ peerdiscover doctor headless-svc.moon\n(.*?)```", PAGE, re.DOTALL
    )
    assert shown == shape(picture, namespace)
    (excerpt,) = re.findall(r"\$ peerdiscover doctor headless-svc.moon .*\n(.*?)```", README, re.DOTALL)
    assert all(shape(line, namespace) in shown for line in excerpt.splitlines())
    offline = doctor.levels("-f", str(MANIFESTS / "trap.yaml"))
    assert offline == {"PD303": "warning", "PD304": "warning"}
    ports = [{"port": 80, "targetPort": 80, "protocol": "TCP"}]  # what both warnings say
    changes = [one["change"] for one in doctor.run("headless-svc")["findings"] if one["level"] == "warning"]
    assert all("port: 80" in change and "targetPort: 80\n" in f"{change}\n" for change in changes)
    doctor.change("Service", "headless-svc", ports=ports)
    doctor.until({}, "headless-svc")
    cluster.api.delete(cluster.api.path("Service", namespace, "regular-svc"))
