"""The cluster by hand: `python -m tests.tools.cluster`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tools.cluster import Cluster, Workload, _registry
from tests.waiting import LONG

_ROOT = Path(__file__).parents[4]
_SLEEP = ["sh", "-c", "echo hello; trap 'exit 0' TERM; while :; do sleep 0.1; done"]
_NOTE = """
apiVersion: v1
kind: ConfigMap
metadata: {name: note}
data: {word: hello}
"""


def run(*arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.tools.cluster", *arguments]
    return subprocess.run(command, cwd=_ROOT, input=text, capture_output=True, text=True, timeout=LONG)


def test_objects(cluster: Cluster, namespace: str) -> None:
    where = ("--name", cluster.name, "-n", namespace)
    assert run("apply", *where, "-", text=_NOTE).stdout == "configmap/note applied\n"
    assert "note\n" in run("get", *where, "ConfigMap").stdout
    assert run("delete", *where, "ConfigMap", "note").returncode == 0
    assert "note\n" not in run("get", *where, "ConfigMap").stdout
    again = run("delete", *where, "ConfigMap", "note")
    assert (again.returncode, again.stderr) == (1, '404: configmaps "note" not found\n')


def test_pods(cluster: Cluster, statefulset: Callable[..., Workload]) -> None:
    web = statefulset("web", 1, command=_SLEEP)
    web.wait()
    where = ("--name", cluster.name, "-n", web.namespace)
    assert run("exec-pod", *where, "web-0", "--", "hostname").stdout == "web-0\n"
    assert run("exec-pod", *where, "web-0", "--", "sh", "-c", "exit 7").returncode == 7
    assert run("logs", *where, "web-0").stdout == "hello\n"
    nobody = run("exec-pod", *where, "web-1", "--", "true")
    assert (nobody.returncode, nobody.stderr) == (1, f"there is no pod {web.namespace}/web-1\n")


def test_a_command_inside(shared_cluster: Cluster) -> None:
    done = run("exec", "--name", shared_cluster.name, "--", "cat", "/etc/resolv.conf")
    assert "nameserver 10.96.0.10\n" in done.stdout


def test_up_until_it_is_told_to_end(shared_cluster: Cluster) -> None:
    command = [sys.executable, "-m", "tests.tools.cluster", "up", "--zone", "z"]
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        name = process.stdout.readline().split()[1].rstrip(",")
        assert run("get", "--name", name, "Node").stdout == "node-1\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(LONG) == 0
    gone = run("get", "--name", name, "Node")
    assert (gone.returncode, gone.stderr) == (1, f"no cluster {name} runs here\n")


@pytest.mark.parametrize(
    ("text", "says"),
    [("a: [", "no YAML"), ("word", "no object with"), ("kind: Pod", "no object with")],
)
def test_what_is_no_object(shared_cluster: Cluster, text: str, says: str) -> None:
    done = run("apply", "--name", shared_cluster.name, "-", text=text)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(says)


def test_a_file_that_is_not_there_and_a_kind_that_is_not_known(shared_cluster: Cluster) -> None:
    where = ("--name", shared_cluster.name)
    assert "No such file" in (missing := run("apply", *where, "/nowhere.yaml").stderr)
    assert missing.count("\n") == 1
    unknown = run("get", *where, "Cheese").stderr
    assert unknown.startswith("'Cheese' is no kind that is known here: ClusterRole,")


def test_a_cluster_that_is_coming_up_is_not_yet_spoken_to(shared_cluster: Cluster) -> None:
    name, _, lock = _registry.new()
    try:
        assert run("get", "--name", name, "Node").stderr == f"no cluster {name} runs here\n"
        assert run("get", "--name", shared_cluster.name, "Node").returncode == 0
    finally:
        os.close(lock)
        _registry.clear(name)
