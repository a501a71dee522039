"""One client through the rolls of a StatefulSet of its own, whose pods write down what they were sent.

The pods are gone at SIGTERM, as at SIGKILL. For clients that live on DNS each pod is ready for longer than
the TTL before the next one goes (`minReadySeconds`); for a watch it need not be. The load goes on until the
last roll is over, so that each client has all of them.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import Cluster, Workload
from tests.http._load import Answered, Load

from ._rolls_proxy import haproxy

CLIENTS = {
    "dns": "peerdiscover, DNS",
    "k8s": "peerdiscover, EndpointSlices",
    "httpx": "httpx",
    "aiohttp": "aiohttp, threaded resolver",
    "haproxy": "HAProxy, plain",
    "haproxy-tuned": "HAProxy, tuned",
}
REPLICAS, PORT = 3, 8080
_PROGRAM = Path(__file__).parents[1] / "http" / "_pod_program.py"
_QUIET = 5.0  # seconds of load before the first roll
_PATIENCE = 120.0  # seconds, for what ends by itself


@dataclass(frozen=True)
class Plan:
    """What each client goes through."""

    requests: int
    rate: float
    rolls: int
    ttl: int

    @property
    def spacing(self) -> float:
        """Seconds from the beginning of one roll to that of the next, unless the roll takes longer."""
        return (self.requests / self.rate - _QUIET) / max(self.rolls, 1)


@dataclass(frozen=True)
class Run:
    """What became of it."""

    client: str
    load: Load
    busy: float
    """The client's part of one processor."""
    rolls: list[tuple[float, float]]
    """When each began and was over, in seconds after the beginning of the load."""
    executed: Counter[str]
    """How often each request arrived at a pod, by its id."""


def run(cluster: Cluster, client: str, plan: Plan) -> Run:
    """A fresh workload, one client, all rolls. Raises `RuntimeError` where the client did not get through,
    `TimeoutError` where a roll did not.
    """
    namespace = cluster.namespace()
    with contextlib.ExitStack() as stack:
        stack.callback(cluster.delete_namespace, namespace)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        workload = cluster.statefulset(
            "web",
            REPLICAS,
            namespace=namespace,
            ports={"http": PORT},
            command=[sys.executable, str(_PROGRAM), str(PORT), "abrupt"],
            container={"readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1}},
            pod_management="OrderedReady",
        )
        workload.wait()
        steady = 0 if client == "k8s" else plan.ttl + 3
        cluster.api.patch(workload.path, {"spec": {"minReadySeconds": steady}})
        if client.startswith("haproxy"):
            tuned = client == "haproxy-tuned"
            stack.enter_context(haproxy(cluster, workload.fqdn, PORT, folder, ttl=plan.ttl, tuned=tuned))
        said = folder / "said"
        process = stack.enter_context(_started(cluster, client, workload, plan, said))
        rolls, uids = _roll(workload, plan, steady)
        assert process.stdin is not None
        process.stdin.close()
        try:
            status = process.wait(plan.requests / plan.rate + _PATIENCE)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{client} did not get through its requests") from None
        if status:
            raise RuntimeError(f"{client} ended with status {status}")
        told = json.loads(said.read_text())
    executed: Counter[str] = Counter()
    for uid in uids:
        executed.update(line for line in cluster.log_of(uid).read_text().splitlines() if line.isdigit())
    began = told["began"]
    load = Load([Answered(*one) for one in told["answered"]], told["late"])
    return Run(client, load, told["busy"], [(a - began, b - began) for a, b in rolls], executed)


@contextlib.contextmanager
def _started(
    cluster: Cluster, client: str, workload: Workload, plan: Plan, said: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """The process of the client, where /etc/resolv.conf is a pod's; it ends with the block."""
    told = {
        "client": client, "service": f"{workload.service}.{workload.namespace}", "port": PORT,
        "nameserver": cluster.nameserver, "kubeconfig": str(cluster.kubeconfig),
        "rate": plan.rate, "requests": plan.requests,
    }  # fmt: skip
    command = [sys.executable, "-m", "tests.bench._rolls_client", json.dumps(told)]
    with said.open("wb") as out:
        process = subprocess.Popen(
            ["ip", "netns", "exec", cluster.name, *command], stdin=subprocess.PIPE, stdout=out
        )
    with process:  # closes its stdin
        try:
            yield process
        finally:
            process.kill()


def _roll(workload: Workload, plan: Plan, steady: float) -> tuple[list[tuple[float, float]], set[str]]:
    """Roll after roll: when each was, and every pod there was."""
    rolls: list[tuple[float, float]] = []
    uids = {pod.uid for pod in workload.pods()}
    time.sleep(_QUIET)
    for n in range(plan.rolls):
        begun = time.monotonic()
        workload.restart()
        time.sleep((REPLICAS - 1) * steady)  # it takes longer: until then nobody need ask the API server
        workload.wait(timeout=_PATIENCE)
        rolls.append((begun, time.monotonic()))
        uids.update(pod.uid for pod in workload.pods())
        print(f"roll {n + 1}: {time.monotonic() - begun:.1f} s", file=sys.stderr, flush=True)
        time.sleep(max(0.0, plan.spacing - (time.monotonic() - begun)))
    return rolls, uids
