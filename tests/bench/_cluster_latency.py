"""How long it takes from a pod's being Ready to its being in `peers`.

Ready is when the API server tells it to whoever watches pods: an observer of our own, in a process of its
own, has the moment. The controllers then have to write it into a slice; from the slice the library, or
CoreDNS, knows it. For the doubtful there is the time from before the report was sent, too. All of it runs in
one go: the watch in threads and under asyncio and DNS see the same changes.
"""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import httpx

from tests.tools.cluster import Cluster
from tests.tools.cluster._certificates import ADMIN_TOKEN

from ._cluster_children import Child, program
from ._table import Row

BEFORE, CHANGES = 20, 120
APART = (0.15, 0.35)  # seconds between two; by chance, so that they come at any moment of a TTL
READY = {
    "status": {"conditions": [{"type": kind, "status": "True"} for kind in ("ContainersReady", "Ready")]}
}


def figures(cluster: Cluster) -> Iterator[Row]:
    ttl = cluster.options.dns.ttl
    namespace = cluster.namespace()
    # Without a startup the agent reports once: a second report would undo ours.
    notes = {"test/ready": "false", "test/startup": "0"}
    app = cluster.deployment("app", BEFORE + CHANGES, namespace=namespace, annotations=notes)
    pods = app.until(lambda pods: len(pods) == BEFORE + CHANGES and all(pod.ip for pod in pods))
    service = f"app.{namespace}:8080"
    with ExitStack() as stack:
        api = stack.enter_context(
            httpx.Client(
                base_url=cluster.server,
                headers={
                    "authorization": f"Bearer {ADMIN_TOKEN}",
                    "content-type": "application/strategic-merge-patch+json",
                },
                verify=ssl.create_default_context(cafile=str(cluster.ca)),
                trust_env=False,
            )
        )

        def make_ready(name: str) -> float:
            path = f"/api/v1/namespaces/{namespace}/pods/{name}/status"
            began = time.monotonic()
            with cluster.inside():
                api.patch(path, json=READY).raise_for_status()
            return began

        for pod in pods[:BEFORE]:
            make_ready(pod.name)
        app.until(lambda pods: sum(pod.ready for pod in pods) == BEFORE)
        arguments = (cluster.server, str(cluster.ca), ADMIN_TOKEN, namespace)
        observer = stack.enter_context(Child(cluster, "_cluster_observer", *arguments))
        watch, task, dns = [
            stack.enter_context(program(cluster, "follow", service, source, runtime=runtime)).there(BEFORE)
            for source, runtime in (("k8s", "threads"), ("k8s", "asyncio"), ("dns", "threads"))
        ]
        observer.until(lambda lines: sum("slice" in line for line in lines) == BEFORE)
        sent = {}
        for pod in pods[BEFORE:]:
            sent[pod.ip] = make_ready(pod.name)
            time.sleep(random.uniform(*APART))
        app.until(lambda pods: all(pod.ready for pod in pods))
        for each in watch, task, dns:
            each.there(BEFORE + CHANGES)
        observer.until(lambda lines: sum("slice" in line for line in lines) == BEFORE + CHANGES)
    cluster.delete_namespace(namespace)
    in_api, in_slice = _seen(observer, "pod"), _seen(observer, "slice")
    threads, asyncio, by_dns = (_after(in_api, each.added()) for each in (watch, task, dns))
    what = "pod Ready in the API → in `peers`"
    for name, share, goal in ("p50", 0.5, ""), ("p99", 0.99, f"≤ 50 ms; DNS ≤ {1.2 * ttl + 1:g} s"):
        yield Row(
            f"{what}, {CHANGES} changes: {name}",
            f"{_ms(threads, share)}, asyncio {_ms(asyncio, share)}",
            _ms(by_dns, share),
            goal,
        )
    yield Row("… the longest", f"{_ms(threads, 1)}, asyncio {_ms(asyncio, 1)}", _ms(by_dns, 1))
    waits = [_after(sent, each.added()) for each in (watch, task, dns)]
    yield Row(
        "… from before the report was sent to the API: p99",
        f"{_ms(waits[0], 0.99)}, asyncio {_ms(waits[1], 0.99)}",
        _ms(waits[2], 0.99),
    )
    controllers = _after(in_api, in_slice)
    ours = [_after(in_slice, each.added()) for each in (watch, task, dns)]
    for name, share in ("p50", 0.5), ("p99", 0.99):
        yield Row(
            f"… of that, until the controllers had it in a slice: {name}", *[_ms(controllers, share)] * 2
        )
        yield Row(
            f"… of that, from the slice on: {name}",
            f"{_ms(ours[0], share)}, asyncio {_ms(ours[1], share)}",
            _ms(ours[2], share),
        )


def _seen(observer: Child, kind: str) -> dict[str, float]:
    return {line[kind]: line["at"] for line in observer.lines if kind in line}


def _after(since: dict[str, float], until: dict[str, float]) -> list[float]:
    """Seconds, in order, for those who became ready one by one."""
    return sorted(until[address] - at for address, at in list(since.items())[-CHANGES:])


def _ms(sorted_seconds: Sequence[float], share: float) -> str:
    """That share of them took no longer."""
    index = max(0, -int(-share * len(sorted_seconds) // 1) - 1)
    return f"{sorted_seconds[index] * 1e3:,.0f} ms"
