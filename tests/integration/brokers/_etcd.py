"""etcd through its JSON gateway: each text is a key of its own."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

from peerdiscover.brokers import HostPort

from ._load import Options, Pods

Etcd3Client = import_module("etcd3gw").Etcd3Client
SERVER = "etcd"
PORT, LANES, KEEPS, CONSUMES = 2379, 1, True, False


class Etcd3gw:
    """The driver takes one host, and resolves it again with each connection."""

    def __init__(self, _pods: Pods, options: Options) -> None:
        service = HostPort(options["service"], PORT)
        self._client = Etcd3Client(*service, timeout=3)
        self._prefix = f"{options['client']}/"

    def write(self, _lane: int, text: str) -> None:
        self._client.put(self._prefix + text, text)

    def read(self) -> Iterable[str]:
        return [text.decode() for text, _ in self._client.get_prefix(self._prefix)]

    def close(self) -> None: ...


class Naive(Etcd3gw):
    def __init__(self, pods: Pods, options: Options) -> None:
        super().__init__(pods, options)
        self._client = Etcd3Client(*pods[0], timeout=3)


CLIENTS = {"etcd3gw": Etcd3gw, "naive: etcd3gw, the first pod": Naive, "naive: etcd3gw, one address": Naive}
