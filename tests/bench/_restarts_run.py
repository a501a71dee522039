"""One client through rolling restarts of its own StatefulSet, whose pods write down what they were sent.

The pods are gone at SIGTERM, as at SIGKILL. For clients that live on DNS each pod is ready for longer than
the TTL before the next one goes (`minReadySeconds`); for a watch it need not be. The load begins before the
first restart and goes on until the last one has ended, so that each client goes through all of them.
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
from tests.tools.cluster._certificates import ADMIN_TOKEN

from ._restarts_proxy import haproxy

CLIENTS = {
    "dns": "peerdiscover, DNS",
    "k8s": "peerdiscover, EndpointSlices",
    "httpx": "httpx",
    "aiohttp": "aiohttp, threaded resolver",
    "aiohttp-pods": "aiohttp, peerdiscover, DNS",
    "requests": "requests",
    "requests-pods": "requests, peerdiscover, DNS",
    "haproxy": "HAProxy, plain",
    "haproxy-tuned": "HAProxy, tuned",
    "grpc-pods": "gRPC, peerdiscover, DNS",
    "grpc": "gRPC, round_robin",
    "grpc-1s": "gRPC, 1 s between resolutions",
}
REPLICAS, PORT = 3, 8080
_HTTP_POD = Path(__file__).parents[1] / "http" / "_pod_program.py"
_GRPC_POD = Path(__file__).with_name("_restarts_pod.py")
_TIMEOUT = 120.0  # seconds, for what ends by itself


@dataclass(frozen=True)
class Plan:
    """What each client goes through."""

    requests: int
    rate: float
    restarts: int
    ttl: int
    ready: int | None = None
    """Seconds that a pod is ready before the next one goes, for every client; without it, see `steady`."""
    quiet: float = 5.0
    """Seconds of load before each restart, at least, and after the last one."""

    def __str__(self) -> str:
        ready = f"{self.ttl + 3} s (k8s: 0)" if self.ready is None else f"{self.ready} s"
        return (
            f"{self.requests:,} requests or more, {self.rate:g} a second; {self.restarts} restarts, "
            f"minReadySeconds {ready}, TTL {self.ttl} s"
        )

    def steady(self, client: str) -> int:
        """`minReadySeconds`: none for a watch, longer than the TTL for clients that live on DNS."""
        if self.ready is not None:
            return self.ready
        return 0 if client == "k8s" else self.ttl + 3

    @property
    def spacing(self) -> float:
        """Seconds from the beginning of one restart to that of the next, unless it takes longer."""
        return (self.requests / self.rate - self.quiet) / max(self.restarts, 1)


@dataclass(frozen=True)
class Run:
    """What became of it."""

    client: str
    load: Load
    busy: float
    """The client's share of one processor."""
    waited: float
    """The share of the time it waited for one: others were at work, the cluster included."""
    restarts: list[tuple[float, float]]
    """When each began and ended, in seconds after the beginning of the load."""
    executed: Counter[str]
    """How often each request arrived at a pod, by its id."""


def run(cluster: Cluster, client: str, plan: Plan) -> Run:
    """Send the load of one client to a fresh workload, through all restarts.

    Raises `RuntimeError` if the client did not get through, `TimeoutError` if a restart did not.
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
        process = stack.enter_context(_process(cluster, client, workload, plan, said))
        _started(process, said)
        restarts, uids = _restart(workload, plan, steady, process)
        assert process.stdin is not None
        process.stdin.close()
        try:
            status = process.wait(plan.requests / plan.rate + _TIMEOUT)
        except subprocess.TimeoutExpired:
            raise RuntimeError("it did not get through its requests") from None
        if status:
            raise RuntimeError(f"its process ended with status {status}")
        began, result = map(json.loads, said.read_text().splitlines())
    executed: Counter[str] = Counter()
    for uid in uids:
        executed.update(line for line in cluster.log_of(uid).read_text().splitlines() if line.isdigit())
    load = Load([Answered(*one) for one in result["answered"]], result["late"])
    since = [(a - began, b - began) for a, b in restarts]
    return Run(client, load, result["busy"], result["waited"], since, executed)


@contextlib.contextmanager
def _process(
    cluster: Cluster, client: str, workload: Workload, plan: Plan, said: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """The client's process, with the /etc/resolv.conf of a pod; it ends with the block."""
    options = {
        "client": client, "service": f"{workload.service}.{workload.namespace}", "port": PORT,
        "nameserver": cluster.nameserver,
        "api": {"server": cluster.server, "ca": str(cluster.ca), "token": ADMIN_TOKEN},
        "rate": plan.rate, "requests": plan.requests,
    }  # fmt: skip
    command = [sys.executable, "-m", "tests.bench._restarts_client", json.dumps(options)]
    with said.open("wb") as out:
        process = subprocess.Popen(
            ["ip", "netns", "exec", cluster.name, *command], stdin=subprocess.PIPE, stdout=out
        )
    with process:  # closes its stdin
        try:
            yield process
        finally:
            process.kill()


def _started(client: subprocess.Popen[bytes], said: Path) -> None:
    """Return once the load has begun: on a busy machine the imports alone take seconds."""
    deadline = time.monotonic() + _TIMEOUT
    while not said.stat().st_size:
        if time.monotonic() > deadline:
            raise RuntimeError(f"it sent nothing within {_TIMEOUT:g} s")
        _pause(client, 0.02)


def _restart(
    workload: Workload, plan: Plan, steady: float, client: subprocess.Popen[bytes]
) -> tuple[list[tuple[float, float]], set[str]]:
    """One restart after the other: when each was, and every pod there was."""
    restarts: list[tuple[float, float]] = []
    uids = {pod.uid for pod in workload.pods()}
    _pause(client, plan.quiet)
    for n in range(plan.restarts):
        begun = time.monotonic()
        workload.restart()
        _pause(
            client, (REPLICAS - 1) * steady
        )  # it takes longer: until then there is no need to ask the API server
        workload.wait(timeout=_TIMEOUT)
        restarts.append((begun, time.monotonic()))
        uids.update(pod.uid for pod in workload.pods())
        print(f"restart {n + 1}: {time.monotonic() - begun:.1f} s", file=sys.stderr, flush=True)
        _pause(client, max(plan.quiet, plan.spacing - (time.monotonic() - begun)))
    return restarts, uids


def _pause(client: subprocess.Popen[bytes], seconds: float) -> None:
    """Let the load go on. It ends when its stdin does: a client that ends now has failed."""
    try:
        status = client.wait(seconds)
    except subprocess.TimeoutExpired:
        return
    raise RuntimeError(f"its process ended with status {status}")
