"""The tutorial's example and its trap: examples/manifests as they stand, from a pod without settings."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.tools.cluster import Cluster, Workload
from tests.tools.cluster.tests._dns import ask
from tests.waiting import eventually

ROOT = Path(__file__).parents[3]
MANIFESTS = ROOT / "examples" / "manifests"
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text()
HEADLESS, REGULAR = "headless-svc.moon", "regular-svc.moon"

pytestmark = pytest.mark.usefixtures("short_ttl")


@pytest.fixture(scope="module")
def app(shared_cluster: Cluster) -> Iterator[Workload]:
    """The Deployment of both manifests. The namespace stays: others have things in it."""
    shared_cluster.api.apply(MANIFESTS / "trap.yaml")
    app = Workload(shared_cluster, "Deployment", "app", "moon", "headless-svc")
    yield app
    shared_cluster.api.delete(shared_cluster.api.path("Service", "moon", "regular-svc"))
    app.delete()


Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(cluster: Cluster, deployment: Callable[..., Workload]) -> Run:
    """Runs a program in a pod of another namespace that has nothing but what every pod has."""
    client = deployment("client", 1, command=["sleep", "600"])
    (pod,) = client.wait(1)
    return lambda *command: cluster.exec(pod.name, client.namespace, command)


def peerdiscover(run: Run, *arguments: str) -> str:
    """The command's output: the words on stderr after those on stdout, as a terminal shows them."""
    done = run(sys.executable, "-m", "peerdiscover", *arguments)
    assert done.returncode == 0, done
    return done.stdout + done.stderr


def applied(cluster: Cluster, app: Workload, manifest: str, port: int) -> set[str]:
    """Applies a manifest as it stands; the addresses of its pods once DNS has its port."""
    cluster.api.apply(MANIFESTS / manifest)
    pods = app.wait(3)

    def ports(name: str) -> set[str]:
        return {record.split()[2] for record in ask(cluster, f"{name}.svc.cluster.local", "SRV").records}

    eventually(lambda: ports(HEADLESS) == {str(port)})
    return {pod.ip for pod in pods}


def shown_in_tutorial(command: str, number: int = 0) -> str:
    """What the tutorial shows below that command, at its nth place."""
    shown = [block for block in re.findall(r"```console\n(.*?)```", TUTORIAL, re.DOTALL) if command in block]
    outputs: list[str] = []
    for block in shown:
        for part in ("\n" + block).split("\n$ ")[1:]:
            line, _, output = part.partition("\n")
            if line == command:
                outputs.append(output.strip("\n"))
    return outputs[number]


def shape(output: str) -> list[str]:
    """Its lines without what differs from cluster to cluster: addresses, and so the width of columns."""
    text = re.sub(r"10([.-])\d+\1\d+\1\d+", r"10\1N", output.strip("\n"))
    return [re.sub(r"(?<=\S) +", " ", line) for line in text.splitlines() if line]


def found(output: str) -> set[str]:
    """The addresses in it."""
    return set(re.findall(r"10\.\d+\.\d+\.\d+", output))


def test_the_trap_as_the_tutorial_shows_it(cluster: Cluster, app: Workload, run: Run) -> None:
    pods = applied(cluster, app, "trap.yaml", 8080)
    assert ask(cluster, f"{HEADLESS}.svc.cluster.local").records == tuple(sorted(pods))
    (virtual,) = ask(cluster, f"{REGULAR}.svc.cluster.local").records
    assert virtual not in pods
    looked_up = run("getent", "ahostsv4", HEADLESS)  # the resolver of libc, by the pod's search list
    assert found(looked_up.stdout) == pods

    output = peerdiscover(run, "resolve", HEADLESS)
    assert shape(output) == shape(shown_in_tutorial(f"peerdiscover resolve {HEADLESS}"))
    assert found(output) == pods
    output = peerdiscover(run, "resolve", f"{HEADLESS}:80")
    assert shape(output) == shape(shown_in_tutorial(f"peerdiscover resolve {HEADLESS}:80"))
    assert "no SRV record" in output
    output = peerdiscover(run, "resolve", f"{REGULAR}:80")
    assert shape(output) == shape(shown_in_tutorial(f"peerdiscover resolve {REGULAR}:80"))
    assert found(output) == {virtual}

    address = min(pods)
    assert httpx.get(f"http://{address}/", trust_env=False).json()["ip"] == address
    with pytest.raises(httpx.ConnectError, match="refused"):
        httpx.get(f"http://{address}:8080/", trust_env=False)


def test_right_as_the_tutorial_shows_it(cluster: Cluster, app: Workload, run: Run) -> None:
    pods = applied(cluster, app, "right.yaml", 80)
    output = peerdiscover(run, "resolve", HEADLESS)
    assert shape(output) == shape(shown_in_tutorial(f"peerdiscover resolve {HEADLESS}", 1))
    assert found(output) == pods
    again = peerdiscover(run, "resolve", f"{HEADLESS}:80")
    assert again.replace(f"{HEADLESS}:80:", f"{HEADLESS}:") == output, "no warning: that is the port"
    output = peerdiscover(run, "resolve", f"{REGULAR}:80")
    assert shape(output) == shape(shown_in_tutorial(f"peerdiscover resolve {REGULAR}:80"))
