"""memcached through pymemcache: a lane is a key, and the keys are spread over the pods.

A pod forgets what it held when it ends. What must hold: a key is with its owner, wherever that is today,
unless that is in no set, as between an old pod and its new one; and no key has another one's value.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

from peerdiscover import Discovery

from ._load import Options, Pods

pymemcache = import_module("pymemcache")
SERVER = "memcached"
PORT, LANES, KEEPS, CONSUMES = 11211, 12, False, False


class _Cache:
    def client(self, key: str, /) -> Any:
        raise NotImplementedError

    def write(self, lane: int, text: str) -> None:
        """A round trip: what was set is what is got."""
        client = self.client(f"lane-{lane}")
        client.set(f"lane-{lane}", text, noreply=False)
        if (found := client.get(f"lane-{lane}")) is None:
            raise RuntimeError("gone: its pod ended in between")
        assert found.decode() == text

    def read(self) -> Iterable[str]:
        """The newest text of each lane that is there."""
        for lane in range(LANES):
            found = self.client(f"lane-{lane}").get(f"lane-{lane}")
            if found is not None:
                assert found.decode().startswith(f"{lane}-")
                yield found.decode()

    def close(self) -> None: ...


class Rendezvous(_Cache):
    """The owner of a key by `rendezvous()`, and one client for each peer."""

    def __init__(self, _pods: Pods, options: Options) -> None:
        self._web = Discovery(f"{options['service']}:{PORT}").start()
        self._web.wait(options["replicas"])
        self._clients: dict[str, Any] = {}
        self._owners: dict[str, str] = {}

    def client(self, key: str, /) -> Any:
        web, before = self._web, self._web.peers
        peer = web.rendezvous().pick(key)
        owner = self._owners.setdefault(key, peer.key)
        is_there = owner in before.by_key and owner in web.peers.by_key
        assert peer.key == owner or not is_there, "a key has moved"
        if peer.key not in self._clients:
            pod = (peer.fqdn, peer.port)
            self._clients[peer.key] = pymemcache.PooledClient(pod, connect_timeout=1, timeout=1)
        return self._clients[peer.key]

    def close(self) -> None:
        self._web.close()


class Naive(_Cache):
    def __init__(self, pods: Pods, _options: Options) -> None:
        self._client = pymemcache.PooledClient(pods[0], connect_timeout=1, timeout=1)

    def client(self, _key: str) -> Any:
        return self._client


CLIENTS = {"pymemcache": Rendezvous, "naive: pymemcache, one address": Naive}
