"""Requests through rolling restarts of pods that end abruptly, on a real control plane; and what failed.

    python -m tests.bench.rolls [dns|k8s] [--requests 100000] [--rate 500] [--rolls 10] [--ttl 5]

One client in one process, an open loop, half GETs and half POSTs with an Idempotency-Key, five seconds for
each. The pods are processes that are gone at SIGTERM; what they were sent is written down outside of them.
Over DNS each pod is ready for longer than the TTL before the next one goes (`minReadySeconds`). It needs
what the tests of the cluster need.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from peerdiscover import DNS, Kubernetes
from peerdiscover.http import AsyncClient
from tests.cluster import Cluster, Workload
from tests.http._load import Load, load

PROGRAM = Path(__file__).parents[1] / "http" / "_pod_program.py"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.rolls")
    parser.add_argument("source", choices=["dns", "k8s"], nargs="?", default="dns")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=500.0)
    parser.add_argument("--rolls", type=int, default=10)
    parser.add_argument("--ttl", type=int, default=5)
    options = parser.parse_args()
    with Cluster.start(ttl=options.ttl) as cluster:
        workload = cluster.statefulset(
            "web",
            3,
            namespace=cluster.namespace(),
            command=[sys.executable, str(PROGRAM), "8080", "abrupt"],
            container={"readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}},
            pod_management="OrderedReady",
        )
        if options.source == "dns":
            cluster.api.patch(workload.path, {"spec": {"minReadySeconds": options.ttl + 3}})
        workload.wait()
        uids: set[str] = set()
        spacing = options.requests / options.rate / options.rolls
        roller = threading.Thread(target=_roll, args=(workload, options.rolls, spacing, uids))
        roller.start()
        with cluster.inside():
            result = asyncio.run(_send(cluster, workload, options))
        roller.join()
        uids.update(pod.uid for pod in workload.pods())
        _tell(result, cluster, uids)


def _roll(workload: Workload, rolls: int, spacing: float, uids: set[str]) -> None:
    """Roll after roll, each begun `spacing` seconds after the last one."""
    for n in range(rolls):
        begun = time.monotonic()
        uids.update(pod.uid for pod in workload.pods())
        workload.restart()
        workload.wait(timeout=120)
        print(f"roll {n + 1}: {time.monotonic() - begun:.1f} s", file=sys.stderr, flush=True)
        time.sleep(max(0.0, spacing - (time.monotonic() - begun)))


async def _send(cluster: Cluster, workload: Workload, options: argparse.Namespace) -> Load:
    name = f"web.{workload.namespace}:8080"
    source: DNS | Kubernetes = DNS(nameservers=[cluster.nameserver])
    if options.source == "k8s":
        name, source = f"k8s:{name}", Kubernetes(kubeconfig=str(cluster.kubeconfig))
    async with AsyncClient(name, source=source, timeout=5, total_timeout=5) as web:
        return await load(web, options.rate, lambda _, n: n >= options.requests)


def _tell(result: Load, cluster: Cluster, uids: set[str]) -> None:
    executed: Counter[str] = Counter()
    for uid in uids:
        log = cluster.log_of(uid)
        executed.update(line for line in log.read_text().splitlines() if line.isdigit())
    attempts = {one.id: one.attempts for one in result.answered}
    print(result.told())
    print(f"executed {len(executed)} of {len(result.answered)}; sent once and executed more often: ", end="")
    print(sum(n > 1 and attempts.get(key, 1) == 1 for key, n in executed.items()))
    print("late (sent more than 50 ms after their time):", result.late)
    for text, n in Counter(one.error.partition("(")[0] for one in result.failed).most_common(5):
        print(f"  {n} × {text}")


if __name__ == "__main__":
    main()
