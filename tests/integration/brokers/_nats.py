"""NATS: one JetStream stream for each client, with a replica on each pod."""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from ._asyncio import event_loop
from ._load import Options, Pods

nats = import_module("nats")
SERVER = "NATS"
PORT, LANES, KEEPS, CONSUMES = 4222, 1, True, True


class NatsPy:
    """The driver connects again by itself, to any of the servers that it knows."""

    _pull: Any = None

    def __init__(self, pods: Pods, options: Options) -> None:
        self._name = re.sub(r"\W+", "-", options["client"])
        event_loop().call(self._connect, pods)

    async def _connect(self, pods: Pods) -> None:
        servers = [f"nats://{pod}" for pod in pods]
        self._connection = await nats.connect(servers, max_reconnect_attempts=-1, reconnect_time_wait=0.2)
        self._stream = self._connection.jetstream(timeout=5)
        await self._stream.add_stream(name=self._name, subjects=[self._name], num_replicas=3)

    def write(self, _lane: int, text: str) -> None:
        event_loop().call(self._stream.publish, self._name, text.encode())

    def read(self) -> Iterable[str]:
        for message in event_loop().call(self._fetch):
            yield message.data.decode()
            event_loop().call(message.ack)

    async def _fetch(self) -> Any:
        if self._pull is None:
            self._pull = await self._stream.pull_subscribe(self._name, durable="reader")
        return await self._pull.fetch(100, timeout=2)

    def close(self) -> None:
        event_loop().call(self._connection.close)


CLIENTS = {
    "nats-py": NatsPy,
    "naive: nats-py, the headless name": NatsPy,
    "naive: nats-py, one address": NatsPy,
}
