"""Requests on a real cluster, under load, while its pods are replaced, killed, lost and cut off.

The pods are processes, and what they were sent is written down outside of them (`_pod_program`). In each
story everything that was sent was answered, within its five seconds, and no request was executed twice but
those that may be (GET, and POST with a key).
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peerdiscover import DNS, Kubernetes
from peerdiscover.http import AsyncClient, Client
from tests.cluster import Cluster, Workload
from tests.http._load import Load, load

PROGRAM = Path(__file__).parents[1] / "http" / "_pod_program.py"
TTL = 5.0
Make = Callable[..., Workload]


class Story:
    """A workload, the requests to it, and what its pods were sent."""

    def __init__(self, cluster: Cluster, workload: Workload) -> None:
        self.cluster = cluster
        self.workload = workload
        self._uids: set[str] = set()
        workload.wait()

    def note(self) -> None:
        """Remember the pods there are, whose logs are read at the end."""
        self._uids.update(pod.uid for pod in self.workload.pods())

    @property
    def name(self) -> str:
        return f"{self.workload.service}.{self.workload.namespace}:8080"

    def client(self, **options: Any) -> dict[str, Any]:
        source = DNS(nameservers=[self.cluster.nameserver], namespace=self.workload.namespace)
        return {"source": source, "timeout": 5, "total_timeout": 5, **options}

    def watching(self) -> dict[str, Any]:
        """The options of a client over EndpointSlices."""
        return {"source": Kubernetes(kubeconfig=str(self.cluster.kubeconfig))}

    def run(self, rate: float, events: Callable[[], object], **options: Any) -> Load:
        """Requests before, during and after what happens."""
        self.note()
        over, errors = threading.Event(), list[BaseException]()

        def happen() -> None:
            try:
                time.sleep(1)
                events()
                self.note()
                time.sleep(1)
            except BaseException as error:
                errors.append(error)
            finally:
                over.set()

        async def send() -> Load:
            name = f"k8s:{self.name}" if "source" in options else self.name
            async with AsyncClient(name, **self.client(**options)) as client:
                return await load(client, rate, lambda seconds, _: over.is_set())

        thread = threading.Thread(target=happen)
        thread.start()
        try:
            result = asyncio.run(send())
        finally:
            thread.join()
        assert not errors
        return result

    def executed(self) -> Counter[str]:
        """How often each request was executed, by the pods' own word."""
        self.note()
        logs = (self.cluster.log_of(uid) for uid in self._uids)
        lines = (line for log in logs if log.exists() for line in log.read_text().splitlines())
        return Counter(line for line in lines if line.isdigit())  # it may have said other things, too

    def check(self, result: Load) -> None:
        """Sent = answered, and each was executed, at most as often as it was sent to somebody."""
        assert not result.failed, result.failed[:5]
        executed = self.executed()
        assert {one.id for one in result.answered} == set(executed)
        attempts = {one.id: one.attempts for one in result.answered}
        assert all(n <= attempts[key] for key, n in executed.items())


@pytest.fixture
def story(cluster: Cluster, namespace: str) -> Callable[..., Story]:
    def make(kind: str, manner: str = "abrupt", replicas: int = 3, ready: int = 0, **more: Any) -> Story:
        make_workload = getattr(cluster, kind)
        workload: Workload = make_workload(
            "web",
            replicas,
            namespace=namespace,
            command=[sys.executable, str(PROGRAM), "8080", manner],
            container={"readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}},
            **more,
        )
        if ready:
            cluster.api.patch(workload.path, {"spec": {"minReadySeconds": ready}})
        return Story(cluster, workload)

    return make


def restart(story: Story) -> None:
    story.workload.restart()
    story.workload.wait()


@pytest.mark.parametrize(
    ("kind", "manner", "more"),
    [
        ("statefulset", "abrupt", {"pod_management": "OrderedReady"}),
        ("deployment", "abrupt", {}),
        ("deployment", "lingering", {"grace": 11}),
    ],
)
def test_a_rolling_restart(story: Any, kind: str, manner: str, more: dict[str, Any]) -> None:
    """Each pod is there for longer than a TTL before the next one goes, as `minReadySeconds` wants it."""
    rolled = story(kind, manner, ready=7, **more)
    sent = 0

    def events() -> None:
        nonlocal sent
        with Client(rolled.name, **rolled.client()) as client:  # threads, beside the tasks
            thread = threading.Thread(target=restart, args=(rolled,))
            thread.start()
            while thread.is_alive():
                sent += 1
                assert client.post("/", headers={"Idempotency-Key": str(sent)}).status_code == 200
                thread.join(0.02)

    result = rolled.run(50, events)
    rolled.check(result)
    assert sent > 500
    assert len(result.shares()) == (3 if kind == "statefulset" else 6)
    assert sum(one.attempts > 1 for one in result.answered) < len(result.answered) / 10, result.told()


def test_a_roll_within_one_ttl(story: Any) -> None:
    """All pods are replaced at once: DNS does not know of it yet, and requests wait for its next answer."""
    rolled = story("statefulset")

    def events() -> None:
        restart(rolled)
        time.sleep(TTL)

    result = rolled.run(20, events)
    rolled.check(result)
    assert result.latency(1.0) < TTL + 0.5


def test_rolls_over_endpointslices(story: Any) -> None:
    """A watch sees each change as it happens: pods may be replaced as fast as they start."""
    rolled = story("statefulset", pod_management="OrderedReady")

    def events() -> None:
        for _ in range(3):
            restart(rolled)
            rolled.note()

    result = rolled.run(50, events, **rolled.watching())
    rolled.check(result)
    assert sum(one.attempts > 1 for one in result.answered) < len(result.answered) / 10, result.told()


@pytest.mark.parametrize("way", ["vanish", "blackhole"])
def test_a_pod_is_lost_without_a_word(story: Any, cluster: Cluster, way: str) -> None:
    """No FIN and no RST: kept lines hang, and connecting does. Nobody waits for a whole read timeout."""
    lost = story("deployment")
    victim = lost.workload.pods()[0]

    def lose() -> None:
        if way == "vanish":
            lost.workload.vanish(victim.name)
        else:
            cluster.blackhole(victim.name, lost.workload.namespace)
        time.sleep(4)

    result = lost.run(50, lose)
    lost.check(result)
    assert result.latency(1.0) < 4.0
    assert victim.name not in result.shares(since=result.answered[-1].intended - 1)


def test_dns_is_out_while_pods_die(story: Any, cluster: Cluster) -> None:
    dying = story("deployment", replicas=4)

    def happen() -> None:
        cluster.stop_part("coredns")
        try:
            for pod in dying.workload.pods()[:2]:
                dying.workload.delete_pod(pod.name, grace=0)
                time.sleep(3)
        finally:
            cluster.start_part("coredns")

    result = dying.run(50, happen)
    dying.check(result)


def test_scaled_up_and_down(story: Any) -> None:
    scaled = story("deployment", "graceful")
    ready: list[float] = []
    began = time.monotonic()

    def scale() -> None:
        scaled.workload.scale(8)
        scaled.workload.wait(8)
        ready.append(time.monotonic() - began)
        time.sleep(1.2 * TTL + 1)
        ready.append(time.monotonic() - began)
        time.sleep(3)
        ready.append(time.monotonic() - began)
        scaled.note()
        scaled.workload.scale(3)
        scaled.workload.wait(3)
        time.sleep(TTL + 1)

    result = scaled.run(80, scale)
    scaled.check(result)
    shares = result.shares(since=ready[1], until=ready[2] - 0.2)
    assert len(shares) == 8  # each new pod serves within 1.2 × TTL + 1 s
    assert max(shares.values()) < 1.1 / 8 + 0.01
    assert len(result.shares(since=result.answered[-1].intended - 0.5)) == 3
