"""What the tests of DNS on a control plane share: a source for its CoreDNS, and what was shown when."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Self

from peerdiscover import DNS, Change, Discovery, PeerSet
from tests.tools.cluster import Cluster, PodInfo
from tests.waiting import eventually


def dns(cluster: Cluster, **more: Any) -> DNS:
    """The cluster's CoreDNS, for a program that runs in no pod."""
    return DNS([cluster.nameserver], cluster_domain=cluster.cluster_domain, **more)


def at(peers: PeerSet) -> set[tuple[str, str]]:
    """Key and first address of each peer: of a StatefulSet's, what `places` says."""
    return {(peer.key, peer.address) for peer in peers}


def places(pods: list[PodInfo]) -> set[tuple[str, str]]:
    """Name and first address of each pod, as the API has them."""
    return {(pod.name, pod.ip) for pod in pods}


class Shown(AbstractContextManager["Shown"]):
    """Every set that a discovery shows, from the one it has now on, in their order."""

    def __init__(self, web: Discovery) -> None:
        self.sets: list[PeerSet] = [web.peers]
        self.changes: list[Change] = []
        self._web = web

    def __enter__(self) -> Self:
        self._end = self._web.on_change(self._take)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:  # the last change may be in `peers` a moment before its callback is called
            eventually(lambda: self.sets[-1] is self._web.peers)
        self._end()

    def _take(self, change: Change) -> None:
        self.changes.append(change)
        self.sets.append(change.after)

    @property
    def always(self) -> set[tuple[str, str]]:
        """Key and address of those who were in every set."""
        return set.intersection(*(at(peers) for peers in self.sets))

    @property
    def ever(self) -> set[tuple[str, str]]:
        """Key and address of those who were in any."""
        return set.union(*(at(peers) for peers in self.sets))

    @property
    def fewest(self) -> int:
        """How many the smallest set had."""
        return min(map(len, self.sets))
