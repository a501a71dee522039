"""Processes that form one cluster, as pods of a StatefulSet: killed, restarted, scaled, and with DNS away.

They run examples/cluster.py, a replicated key-value store. What it acknowledged must be there in the end.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.tools.cluster import ApiError, Cluster, ClusterError, PodInfo, Workload
from tests.waiting import LONG, eventually

Make = Callable[..., Workload]

pytestmark = pytest.mark.usefixtures("short_ttl")

TOY = [sys.executable, str(Path(__file__).parents[3] / "examples" / "cluster.py")]


@pytest.fixture
def toy(statefulset: Make) -> Callable[[int], Workload]:
    return lambda replicas: statefulset(
        "kv",
        replicas,
        command=TOY,
        env={"PEERS": "kv:8080", "DATA": "/mnt/data", "FOUNDERS": "3"},
        data="/mnt/data",
        publish_not_ready=True,
        container={"readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}},
    )


def standing(pod: PodInfo) -> dict[str, Any]:
    answer: dict[str, Any] = httpx.post(f"http://{pod.ip}:8080/peerdiscover", timeout=2).json()
    return answer


def clusters(kv: Workload) -> set[str | None]:
    """What the pods that answer say."""
    found: set[str | None] = set()
    for pod in kv.pods():
        with suppress(httpx.HTTPError):
            found.add(standing(pod)["cluster"])
    return found


def whole(kv: Workload, replicas: int) -> str:
    """Waits until all pods run and are in one cluster; returns it."""
    found: set[str | None] = set()

    def one() -> bool:
        found.clear()
        try:
            found.update(standing(pod)["cluster"] for pod in kv.pods())
        except httpx.HTTPError:
            return False
        assert len(found - {None}) <= 1, found
        return len(found) == 1 and None not in found

    kv.wait(replicas)
    eventually(one, 2 * LONG)
    [cluster] = found
    assert cluster is not None
    return cluster


@contextmanager
def writing(kv: Workload) -> Iterator[dict[str, str]]:
    """Meanwhile each pod in turn is given a value to write; yields those that were acknowledged."""
    acknowledged: dict[str, str] = {}
    ended = threading.Event()

    def write() -> None:
        n = 0
        while not ended.is_set():
            for pod in kv.pods():
                n += 1
                with suppress(httpx.HTTPError):
                    answer = httpx.put(f"http://{pod.ip}:8080/kv/{n}", content=str(-n), timeout=3)
                    if answer.status_code == 200:
                        acknowledged[str(n)] = str(-n)
            ended.wait(0.1)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield acknowledged
    finally:
        ended.set()
        writer.join()


def has_all(pod: PodInfo, expected: dict[str, str]) -> bool:
    with httpx.Client(base_url=f"http://{pod.ip}:8080") as client:
        return all(client.get(f"/kv/{key}").text == value for key, value in expected.items())


def test_killed_and_restarted_at_random(cluster: Cluster, toy: Callable[[int], Workload]) -> None:
    seed = time.time_ns()
    chance = random.Random(seed)
    print(f"seed {seed}")  # noqa: T201 - pytest shows it if the test fails
    kv = toy(5)
    away: set[str] = set()
    with writing(kv) as acknowledged:
        for _ in range(30):
            name = f"kv-{chance.randrange(5)}"
            match chance.choice(["delete", "delete", "roll", "dns", "blackhole"]):
                case "delete":
                    with suppress(ApiError):  # it is not there yet
                        kv.delete_pod(name)
                case "roll":
                    kv.restart()
                case "dns":
                    cluster.pause_part("coredns")
                    time.sleep(chance.uniform(0, 6))
                    cluster.resume_part("coredns")
                case "blackhole" if not away:
                    with suppress(ClusterError):
                        cluster.blackhole(name, kv.namespace)
                        away.add(name)
            time.sleep(chance.uniform(0, 3))
            assert len(clusters(kv) - {None}) <= 1
            if away and chance.random() < 0.5:
                with suppress(ClusterError):  # it was deleted meanwhile
                    cluster.heal(away.pop(), kv.namespace)
        for name in away:
            with suppress(ClusterError):
                cluster.heal(name, kv.namespace)
        whole(kv, 5)
    assert acknowledged
    for pod in kv.pods():
        eventually(lambda pod=pod: has_all(pod, acknowledged))  # type: ignore[misc]


@pytest.mark.parametrize("replicas", [5, 6])
def test_scaled_up_while_it_forms(toy: Callable[[int], Workload], replicas: int) -> None:
    kv = toy(3)
    kv.scale(replicas)
    whole(kv, replicas)


def test_the_first_pod_comes_back_with_an_empty_disk(
    cluster: Cluster, toy: Callable[[int], Workload]
) -> None:
    kv = toy(3)
    before = whole(kv, 3)
    life = standing(kv.pods()[0])["boot"]
    cluster.exec("kv-0", kv.namespace, ["rm", "/mnt/data/kv-0.json"])
    kv.delete_pod("kv-0")
    eventually(lambda: came_back(kv, life))
    assert whole(kv, 3) == before  # the others are there

    for name in "kv-1", "kv-2":
        cluster.blackhole(name, kv.namespace)
    life = standing(kv.pods()[0])["boot"]
    cluster.exec("kv-0", kv.namespace, ["rm", "/mnt/data/kv-0.json"])
    kv.delete_pod("kv-0")
    eventually(lambda: came_back(kv, life))
    eventually(lambda: standing(kv.pods()[0])["cluster"] is None)
    time.sleep(5)  # a few rounds: what must not happen has the time to
    assert standing(kv.pods()[0])["cluster"] is None  # they are away
    for name in "kv-1", "kv-2":
        cluster.heal(name, kv.namespace)
    assert whole(kv, 3) == before


def came_back(kv: Workload, life: str) -> bool:
    with suppress(httpx.HTTPError):
        return bool(standing(kv.pods()[0])["boot"] != life)
    return False


def test_founders_are_changed_while_it_forms(cluster: Cluster, toy: Callable[[int], Workload]) -> None:
    kv = toy(5)
    env = [{"name": "FOUNDERS", "value": "5"}]
    container = {"name": "main", "env": env}
    cluster.api.patch(kv.path, {"spec": {"template": {"spec": {"containers": [container]}}}})
    whole(kv, 5)
    assert all(len(standing(pod)["founders"]) == 5 for pod in kv.pods())
