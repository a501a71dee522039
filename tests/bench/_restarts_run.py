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

from tests.http._load import Answered, Load
from tests.tools.cluster import Cluster, Workload

from ._rolls_proxy import haproxy

CLIENTS = {
    "dns": "peerdiscover, DNS",
    "k8s": "peerdiscover, EndpointSlices",
    "httpx": "httpx",
    "aiohttp": "aiohttp, threaded resolver",
    "haproxy": "HAProxy, plain",
    "haproxy-tuned": "HAProxy, tuned",
    "grpc": "gRPC, round_robin",
    "grpc-1s": "gRPC, 1 s between resolutions",
}
REPLICAS, PORT = 3, 8080
_HTTP_POD = Path(__file__).parents[1] / "http" / "_pod_program.py"
_GRPC_POD = Path(__file__).with_name("_rolls_pod.py")
_PATIENCE = 120.0  # seconds, for what ends by itself


@dataclass(frozen=True)
class Plan:
    """What each client goes through."""

    requests: int
    rate: float
    rolls: int
    ttl: int
    ready: int | None = None
    """Seconds that a pod is ready before the next one goes, for every client; without it, see `steady`."""
    quiet: float = 5.0
    """Seconds of load before each roll, at least, and after the last one."""

    def __str__(self) -> str:
        ready = f"{self.ttl + 3} s (k8s: 0)" if self.ready is None else f"{self.ready} s"
        return (
            f"{self.requests:,} requests or more, {self.rate:g} a second; {self.rolls} rolls, "
            f"minReadySeconds {ready}, TTL {self.ttl} s"
        )

    def steady(self, client: str) -> int:
        """`minReadySeconds`: none for a watch, longer than the TTL for clients that live on DNS."""
        if self.ready is not None:
            return self.ready
        return 0 if client == "k8s" else self.ttl + 3

    @property
    def spacing(self) -> float:
        """Seconds from the beginning of one roll to that of the next, unless the roll takes too long."""
        return (self.requests / self.rate - self.quiet) / max(self.rolls, 1)


@dataclass(frozen=True)
class Run:
    """What became of it."""

    client: str
    load: Load
    busy: float
    """The client's part of one processor."""
    waited: float
    """The part of the time in which it wanted one and had none: others' work, the cluster's included."""
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
            command=[sys.executable, str(_GRPC_POD if client.startswith("grpc") else _HTTP_POD), str(PORT)],
            container={"readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1}},
            pod_management="OrderedReady",
        )
        workload.wait()
        steady = plan.steady(client)
        cluster.api.patch(workload.path, {"spec": {"minReadySeconds": steady}})
        if client.startswith("haproxy"):
            tuned = client == "haproxy-tuned"
            stack.enter_context(haproxy(cluster, workload.fqdn, PORT, folder, ttl=plan.ttl, tuned=tuned))
        said = folder / "said"
        process = stack.enter_context(_started(cluster, client, workload, plan, said))
        rolls, uids = _roll(workload, plan, steady, process)
        assert process.stdin is not None
        process.stdin.close()
        try:
            status = process.wait(plan.requests / plan.rate + _PATIENCE)
        except subprocess.TimeoutExpired:
            raise RuntimeError("it did not get through its requests") from None
        if status:
            raise RuntimeError(f"its process ended with status {status}")
        told = json.loads(said.read_text())
    executed: Counter[str] = Counter()
    for uid in uids:
        executed.update(line for line in cluster.log_of(uid).read_text().splitlines() if line.isdigit())
    began = told["began"]
    load = Load([Answered(*one) for one in told["answered"]], told["late"])
    since = [(a - began, b - began) for a, b in rolls]
    return Run(client, load, told["busy"], told["waited"], since, executed)


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


def _roll(
    workload: Workload, plan: Plan, steady: float, client: subprocess.Popen[bytes]
) -> tuple[list[tuple[float, float]], set[str]]:
    """Roll after roll: when each was, and every pod there was."""
    rolls: list[tuple[float, float]] = []
    uids = {pod.uid for pod in workload.pods()}
    _pause(client, plan.quiet)
    for n in range(plan.rolls):
        begun = time.monotonic()
        workload.restart()
        _pause(client, (REPLICAS - 1) * steady)  # it takes longer: until then nobody need ask the API server
        workload.wait(timeout=_PATIENCE)
        rolls.append((begun, time.monotonic()))
        uids.update(pod.uid for pod in workload.pods())
        print(f"roll {n + 1}: {time.monotonic() - begun:.1f} s", file=sys.stderr, flush=True)
        _pause(client, max(plan.quiet, plan.spacing - (time.monotonic() - begun)))
    return rolls, uids


def _pause(client: subprocess.Popen[bytes], seconds: float) -> None:
    """The load goes on. It ends when it is told to: a client that ends now has failed."""
    try:
        status = client.wait(seconds)
    except subprocess.TimeoutExpired:
        return
    raise RuntimeError(f"its process ended with status {status}")
