"""A StatefulSet of a real program on the cluster, rolled pod by pod beside the loads of its clients."""

from __future__ import annotations

import ast
import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.tools.cluster import Cluster, PodInfo, Workload
from tests.waiting import LONG

STEADY = 6
"""Seconds that a pod is ready before the next one goes: more than the TTL of 5 s. `minReadySeconds` would say
so, but it holds for no update of pods that are started in parallel, and most clusters must be."""
PATIENCE = 4 * LONG
"""Seconds that a client has to begin, and to come back: three servers in Java start beside it."""
NAIVE = 10.0
"""Seconds that a naive line has to come back once all pods are. It is not asked to."""


@dataclass(frozen=True)
class Result:
    """What became of one client."""

    client: str
    wrote: bool
    """Whether it wrote to every lane after all pods were back."""
    read: bool
    """Whether it read all that had been acknowledged."""
    acknowledged: int
    lost: list[str] | None
    """What was acknowledged and was never read; None of a server that promises nothing."""
    write_gap: float
    """Seconds: the longest time without success, in the lane that fared worst."""
    read_gap: float
    errors: dict[str, int]

    def row(self, server: str) -> tuple[str, ...]:
        """Its row in docs/benchmarks.md."""
        lost = str(len(self.lost)) if self.read and self.lost is not None else ""
        never = "never again" if self.acknowledged else "never"
        wrote = f"{self.write_gap:.1f} s" if self.wrote else never
        read = f"{self.read_gap:.1f} s" if self.read else never
        return (
            server,
            self.client,
            f"{self.acknowledged:,}",
            lost,
            wrote,
            read,
        )


RESULTS: list[tuple[str, Result]] = []
"""Of this run: the server, and what became of each of its clients."""


def serve(
    statefulset: Callable[..., Workload],
    name: str,
    script: str,
    ports: dict[str, int],
    *,
    replicas: int = 3,
    grace: int = 20,
    probe: dict[str, Any] | None = None,
) -> Workload:
    """A StatefulSet whose pods run a bash script, with a folder at /mnt/data that outlives them.

    In the script `$SERVICE` is the headless Service's name, `$POD_IP` the pod's address, and `$PEERDISCOVER`
    the command. A pod is ready when its first port accepts connections, or by `probe`.
    """
    probe = probe or {"tcpSocket": {"port": next(iter(ports.values()))}}
    env = [
        {"name": "SERVICE", "value": name},
        {"name": "PEERDISCOVER", "value": f"{sys.executable} -m peerdiscover"},
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    ]
    return statefulset(
        name,
        replicas,
        ports=ports,
        command=["bash", "-euc", script],
        container={"env": env, "readinessProbe": {**probe, "periodSeconds": 1, "timeoutSeconds": 5}},
        data="/mnt/data",
        publish_not_ready=True,
        grace=grace,
    )


def ready(cluster: Cluster, servers: Workload) -> list[PodInfo]:
    """Its pods, once all are ready; an error has the end of what each of them printed."""
    try:
        return servers.wait(timeout=PATIENCE)
    except TimeoutError as error:
        for pod in servers.pods():
            error.add_note(f"{pod.name}:\n{cluster.log_of(pod.uid).read_text(errors='replace')[-2000:]}")
        raise


def rolled(cluster: Cluster, servers: Workload, module: str) -> list[Result]:
    """Each pod is replaced in turn, so that every address changes, while the module's clients write and read.

    Each client must come back, and nothing that was acknowledged may be lost. One whose name begins with
    "naive" need not: it stands beside the others in the table.
    """
    server, clients = clients_of(Path(__file__).with_name(f"{module}.py"))
    pods = ready(cluster, servers)
    options = {
        "module": f"{__package__}.{module}",
        "service": f"{servers.service}.{servers.namespace}",
        "name": servers.name,
        "replicas": len(pods),
        "address": pods[0].ip,
    }
    with contextlib.ExitStack() as stack:
        loads = {
            client: stack.enter_context(_load(cluster, {**options, "client": client})) for client in clients
        }
        for client, load in loads.items():
            said = _line(load)
            assert said["began"] or client.startswith("naive"), f"{client}: {said['errors']}"
        for pod in reversed(pods):
            servers.delete_pod(pod.name)
            servers.until(lambda now, old=pod: old.uid not in {one.uid for one in now})  # type: ignore[misc]
            ready(cluster, servers)
            time.sleep(STEADY)
        after = {pod.ip for pod in servers.pods()}
        assert after.isdisjoint(pod.ip for pod in pods), "every address has changed"
        for load in loads.values():
            assert load.stdin is not None
            load.stdin.close()
        results = [Result(client, **_line(load)) for client, load in loads.items()]
    RESULTS.extend((server, result) for result in results)
    for result in results:
        if not result.client.startswith("naive"):
            assert result.wrote, result
            assert result.read, result
            assert not result.lost, result
    return results


def clients_of(module: Path) -> tuple[str, list[str]]:
    """Which server a module is for, and the names of its clients: read, since its drivers may not be here."""
    found = {}
    for statement in ast.parse(module.read_text()).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            found[statement.targets[0].id] = statement.value
    server, clients = found["SERVER"], found["CLIENTS"]
    assert isinstance(clients, ast.Dict)
    return ast.literal_eval(server), [ast.literal_eval(key) for key in clients.keys if key is not None]


@contextlib.contextmanager
def _load(cluster: Cluster, options: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    """A client's process, with the /etc/resolv.conf of a pod; it ends with the block."""
    options["patience"] = NAIVE if options["client"].startswith("naive") else PATIENCE
    program = [sys.executable, "-m", f"{__package__}._load", json.dumps(options)]
    command = ["ip", "netns", "exec", cluster.name, *program]
    load = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]
    )
    with load:
        try:
            yield load
        finally:
            load.kill()


def _line(load: subprocess.Popen[str]) -> Any:
    """The next line that it prints; it is killed, and fails, if that takes longer than it may."""
    assert load.stdout is not None
    watchdog = threading.Timer(PATIENCE + LONG, load.kill)
    watchdog.start()
    try:
        line = load.stdout.readline()
    finally:
        watchdog.cancel()
        watchdog.join()
    assert line, "the client's process has ended"
    return json.loads(line)
