"""Pods that run commands: what they find around them, their probes, their ends, their restarts."""

from __future__ import annotations

import base64
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tools.cluster import Cluster, ClusterError, PodInfo, Workload
from tests.waiting import LONG

from .conftest import SERVER

Make = Callable[..., Workload]

_SLEEP = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


def sh(text: str) -> list[str]:
    """A command that does something first, and then stays until it is told to end."""
    return ["sh", "-c", f"{text}\ntrap 'exit 0' TERM; while :; do sleep 0.1; done"]


def test_what_a_pod_finds(cluster: Cluster, statefulset: Make) -> None:
    field = {"valueFrom": {"fieldRef": {"fieldPath": "status.podIPs"}}}
    more = {
        "env": [
            {"name": "IPS", **field},
            {"name": "A", "value": "x"},
            {"name": "B", "value": "$(A)-$(NO)-$$"},
        ]
    }
    web = statefulset("web", 1, command=_SLEEP, container=more)
    pod = web.wait()[0]

    def out(*command: str) -> str:
        done = cluster.exec("web-0", web.namespace, command)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert out("hostname") == "web-0\n"
    assert out("sh", "-c", "echo $HOSTNAME $IPS $B") == f"web-0 {','.join(pod.ips)} x-$(NO)-$\n"
    assert f"{pod.ip}\tweb-0.{web.fqdn}\tweb-0\n" in out("cat", "/etc/hosts")
    assert out("cat", "/etc/resolv.conf").splitlines() == [
        f"search {web.namespace}.svc.cluster.local svc.cluster.local cluster.local",
        "nameserver 10.96.0.10",
        "options ndots:5",
    ]
    assert out("cat", f"{_ACCOUNT}/namespace") == web.namespace
    assert out("cat", f"{_ACCOUNT}/ca.crt") == cluster.ca.read_text()
    assert "eth0" in out("ip", "address")
    program = "import socket; print(socket.gethostbyname(socket.getfqdn()))"
    assert out(sys.executable, "-c", program) == f"{pod.ip}\n"
    # Its processes are all there are: itself as number 1.
    assert out("cat", "/proc/1/comm") == "sh\n"


def test_no_account_where_none_is_wanted(cluster: Cluster, statefulset: Make) -> None:
    web = statefulset("web", 1, command=_SLEEP, pod={"automountServiceAccountToken": False})
    web.wait()
    assert cluster.exec("web-0", web.namespace, ["test", "-e", _ACCOUNT]).returncode == 1


def test_a_served_pod_runs_nothing(cluster: Cluster, statefulset: Make) -> None:
    web = statefulset("web", 1)
    web.wait()
    with pytest.raises(ClusterError, match="has no command: nothing can run in it"):
        cluster.exec("web-0", web.namespace, ["true"])


def test_the_log(cluster: Cluster, statefulset: Make) -> None:
    web = statefulset("web", 1, command=sh("echo out; echo err >&2"))
    web.wait()
    assert cluster.logs("web-0", web.namespace) == "out\nerr\n"


def test_init_containers_come_first(cluster: Cluster, statefulset: Make) -> None:
    first = {"name": "first", "image": "x", "command": ["sh", "-c", "echo first"]}
    web = statefulset("web", 1, command=sh("echo main"), pod={"initContainers": [first]})
    web.wait()
    assert cluster.logs("web-0", web.namespace) == "first\nmain\n"


def test_a_command_that_ends_is_started_again(statefulset: Make) -> None:
    web = statefulset("web", 1, command=["sh", "-c", "exit 3"])
    pods = web.until(lambda pods: bool(pods) and pods[0].restarts >= 3)
    assert not pods[0].ready


def test_a_pod_that_need_not_start_again(cluster: Cluster, namespace: str) -> None:
    for name, status in (("good", 0), ("bad", 3)):
        container = {"name": "main", "image": "x", "command": ["sh", "-c", f"exit {status}"]}
        cluster.api.apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": namespace},
                "spec": {"restartPolicy": "Never", "containers": [container]},
            }
        )
    deadline = time.monotonic() + LONG
    phases: dict[str, str] = {}
    while set(phases.values()) != {"Succeeded", "Failed"}:
        assert time.monotonic() < deadline, phases
        phases = {i["metadata"]["name"]: i["status"]["phase"] for i in cluster.api.list("Pod", namespace)}
    assert phases == {"good": "Succeeded", "bad": "Failed"}


def test_everything_ends_with_the_pod(cluster: Cluster, statefulset: Make) -> None:
    # A grandchild of another session, which ignores what it can, and has a name of its own.
    seconds = f"4321.{os.getpid()}"
    web = statefulset("web", 1, command=sh(f"setsid sh -c 'trap \"\" TERM HUP; exec sleep {seconds}' &"))
    web.wait()
    assert _running(seconds)
    web.scale(0)
    web.wait(0)
    web.until(lambda pods: not pods)
    assert not _running(seconds)


def test_sigterm_is_heard_within_the_grace(cluster: Cluster, statefulset: Make) -> None:
    web = statefulset(
        "web", 1, command=["sh", "-c", "trap 'echo bye; exit' TERM; while :; do sleep 0.1; done"], grace=30
    )
    pod = web.wait()[0]
    began = time.monotonic()
    web.scale(0)
    web.until(lambda pods: not pods)
    assert time.monotonic() - began < 30, "it did not wait for the grace to be over"
    assert cluster.log_of(pod.uid).read_text() == "bye\n"


def test_what_comes_before_sigterm(cluster: Cluster, statefulset: Make) -> None:
    before = {"exec": {"command": ["touch", "/mnt/told"]}}
    said = "trap 'ls /mnt; exit' TERM; while :; do sleep 0.1; done"
    more = {"lifecycle": {"preStop": before}}
    web = statefulset("web", 1, command=["sh", "-c", said], container=more, grace=10)
    pod = web.wait()[0]
    web.scale(0)
    web.until(lambda pods: not pods)
    assert cluster.log_of(pod.uid).read_text() == "told\n"


def test_the_grace_is_over(statefulset: Make) -> None:
    web = statefulset("web", 1, command=["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"], grace=1)
    web.wait()
    began = time.monotonic()
    web.scale(0)
    web.until(lambda pods: not pods)
    assert 1 <= time.monotonic() - began < LONG


@pytest.mark.parametrize(
    "probe",
    [
        {"tcpSocket": {"port": "http"}},
        {"httpGet": {"port": 8080, "path": "/ok"}},
        {"exec": {"command": ["sh", "-c", "test -e /mnt/serving"]}},
    ],
    ids=lambda probe: next(iter(probe)),
)
def test_a_probe_decides(cluster: Cluster, statefulset: Make, probe: dict[str, Any]) -> None:
    """A server that listens while there is a file."""
    program = """
import http.server, os, threading, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/ok" else 404)
        self.end_headers()
server = None
while True:
    wanted = os.path.exists("/mnt/serving")
    if wanted and server is None:
        server = http.server.HTTPServer(("", 8080), Handler)
        threading.Thread(target=server.serve_forever).start()
    if not wanted and server is not None:
        server.shutdown(); server.server_close(); server = None
    time.sleep(0.05)
"""
    said = {"readinessProbe": {**probe, "periodSeconds": 1, "failureThreshold": 2}}
    web = statefulset("web", 1, command=[sys.executable, "-S", "-c", program], container=said)
    web.until(lambda pods: bool(pods and pods[0].ip))
    assert not web.pods()[0].ready
    for word, ready in (("touch", True), ("rm", False)):
        while cluster.exec("web-0", web.namespace, [word, "/mnt/serving"]).returncode:
            pass  # the process begins in a moment
        began = time.monotonic()
        web.until(_is_ready if ready else _is_not_ready)
    assert time.monotonic() - began >= 1  # two failures, a period apart


@pytest.mark.parametrize("command", [None, [sys.executable, "-S", str(SERVER)]], ids=["served", "commanded"])
def test_a_probe_finds_a_black_hole(cluster: Cluster, statefulset: Make, command: list[str] | None) -> None:
    probe = {"readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1, "failureThreshold": 1}}
    web = statefulset("web", 1, command=command, container=probe)
    web.wait()
    cluster.blackhole("web-0", web.namespace)
    web.until(lambda pods: not pods[0].ready)
    cluster.heal("web-0", web.namespace)
    web.until(lambda pods: pods[0].ready)


def test_a_folder_of_an_ordinal_outlives_its_pod(cluster: Cluster, statefulset: Make) -> None:
    web = statefulset("web", 2, command=sh("hostname >>/mnt/data/who"), data="/mnt/data")
    web.wait()
    web.restart()
    web.wait()
    for name in ("web-0", "web-1"):
        done = cluster.exec(name, web.namespace, ["cat", "/mnt/data/who"])
        assert done.stdout == f"{name}\n{name}\n"


def test_a_token_is_renewed_in_place(cluster: Cluster, statefulset: Make) -> None:
    web = statefulset("web", 1, command=_SLEEP, annotations={"test/token-seconds": "2"})
    web.wait()

    def token() -> str:
        return cluster.exec("web-0", web.namespace, ["cat", f"{_ACCOUNT}/token"]).stdout

    first = second = token()
    deadline = time.monotonic() + LONG
    while second == first:
        assert time.monotonic() < deadline
        second = token()
    for said in map(_claims, (first, second)):
        assert said["exp"] - said["iat"] == 2
        assert said["sub"] == f"system:serviceaccount:{web.namespace}:default"
        assert said["kubernetes.io"]["pod"]["name"] == "web-0"


def _is_ready(pods: list[PodInfo]) -> bool:
    return pods[0].ready


def _is_not_ready(pods: list[PodInfo]) -> bool:
    return not pods[0].ready


def _claims(token: str) -> dict[str, Any]:
    part = token.split(".")[1]
    said: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return said


def _running(word: str) -> bool:
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word in entry.read_bytes().decode(errors="replace").split("\0"):
                return True
        except (FileNotFoundError, ProcessLookupError):
            continue
    return False
