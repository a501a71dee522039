"""Redis Cluster through redis-py: a lane is a hash tag, and the tags are spread over the pods."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

from ._load import Options, Pods

cluster = import_module("redis.cluster")
RedisCluster, ClusterNode = cluster.RedisCluster, cluster.ClusterNode
SERVER = "Redis Cluster"
PORT, LANES, KEEPS, CONSUMES = 6379, 9, True, False


class ByName:
    """Each lane is a list, whose name's hash tag decides on its slot."""

    def __init__(self, pods: Pods, options: Options) -> None:
        self._prefix = options["client"]
        self._cluster = self.connect(pods)

    def connect(self, pods: Pods) -> Any:
        nodes = [ClusterNode(*pod) for pod in pods]
        return RedisCluster(startup_nodes=nodes, dynamic_startup_nodes=False)

    def write(self, lane: int, text: str) -> None:
        self._cluster.rpush(f"{self._prefix}{{{lane}}}", text)

    def read(self) -> Iterable[str]:
        for lane in range(LANES):
            yield from (text.decode() for text in self._cluster.lrange(f"{self._prefix}{{{lane}}}", 0, -1))

    def close(self) -> None:
        self._cluster.close()


class Naive(ByName):
    def connect(self, pods: Pods) -> Any:
        return RedisCluster(host=pods[0].host, port=PORT)


CLIENTS = {"redis-py": ByName, "naive: redis-py, one address": Naive}
