"""Kubernetes: the source that watches EndpointSlices over the API, and tells each change as it happens.

The floors of this room, each in a module of its own:

    _kubeconfig     reading kubeconfigs
    _access         where the API server is, and how one proves who one is
    _rights         what to say where it lets us read nothing
    _slices         from EndpointSlices to an answer                             no socket, no clock
    _steps          the words: find, get, wait; what is remembered
    _watching       the steps of a watch                                         no socket, no clock
    _wakeable       connections that end at once when nobody waits any more
    _streams        the waiting, once in threads and once awaited

Rules of this room:

* Nothing is read and nobody is asked before the watch begins; then what is wrong is a failed answer.
* One `Kubernetes` may serve any number of discoveries and threads.
"""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from peerdiscover.answers import Answer, LookupRequest
from peerdiscover.errors import ConfigurationError
from peerdiscover.sources.environment import Environment, checked_domain, checked_namespace

from ._config import check_arguments

if TYPE_CHECKING:
    from ._commands import Target
    from ._config import ClusterConfig
    from ._reflector import Reflector

__all__ = ["Kubernetes"]


class Kubernetes:
    """Watches the EndpointSlices of a Service, on the API server: changes come within milliseconds.

    In a pod nothing needs to be given. Elsewhere `kubeconfig` is the path of one (else `$KUBECONFIG`, else
    `~/.kube/config`), or `server`, `ca` (the path of a PEM file; else the system's trust store) and `token`
    say it. `namespace` is the one that names without a namespace are in; else it is
    `PEERDISCOVER_NAMESPACE`, the kubeconfig's, the pod's, and at last, with a kubeconfig, `default`, as for
    kubectl. `cluster_domain` stands in `Peer.fqdn`; it is found as `DNS` finds it.

    A port that is a number is the pods' own, used as it is. Of a Service with a cluster IP (`PeerSet.kind`
    "cluster-ip") the pods are seen all the same. It needs the rights `list` and `watch` on `endpointslices`
    (API group discovery.k8s.io) in the namespace of the Service; an error says what to apply. `trust_env`:
    proxies of the environment are used, which they are not by default.

    A watch is open for `timeout_seconds` at most; then the set is read anew, as a whole. For so long can a
    connection that has died without a word, or a proxy that swallows events, hide a change; `status.age`
    grows meanwhile. A living one is confirmed about once a minute, if any slices of the cluster change.

    `ConfigurationError` where an argument cannot be right.
    """

    kind = "k8s"

    def __init__(
        self,
        server: str | None = None,
        ca: str | os.PathLike[str] | None = None,
        token: str | None = None,
        kubeconfig: str | os.PathLike[str] | None = None,
        *,
        namespace: str | None = None,
        cluster_domain: str | None = None,
        timeout_seconds: float = 300.0,
        trust_env: bool = False,
        surroundings: Environment | None = None,
    ) -> None:
        from ._commands import ServerState

        check_arguments(server, ca, token, kubeconfig)
        if not isinstance(timeout_seconds, int | float) or not 1 <= timeout_seconds <= 3600:
            raise ConfigurationError(f"Kubernetes(timeout_seconds={timeout_seconds!r}): from 1 to 3600")
        self._given = (server, ca, token, kubeconfig)
        self._namespace = None if namespace is None else checked_namespace(namespace, "namespace=")
        self._cluster_domain = cluster_domain and checked_domain(cluster_domain, "cluster_domain=")
        self._timeout_seconds = timeout_seconds
        self._trust_env = trust_env
        self._surroundings = surroundings or Environment()
        self._memory = ServerState()

    def __repr__(self) -> str:
        server, _, _, kubeconfig = self._given
        shown = (
            f"server={server!r}" if server else f"kubeconfig={os.fspath(kubeconfig)!r}" if kubeconfig else ""
        )
        return f"Kubernetes({shown})"

    def watch(self, ask: LookupRequest) -> Iterator[Answer]:
        """Whole answers, as they come, for a thread. Ends by itself only when nobody waits any more."""
        from ._drivers import drive

        return drive(self._watching(ask), self._finder(ask), ask, trust_env=self._trust_env)

    def awatch(self, ask: LookupRequest) -> AsyncIterator[Answer]:
        """The same, awaited, under asyncio and trio. It never ends by itself."""
        from ._drivers import adrive

        return adrive(self._watching(ask), self._finder(ask), trust_env=self._trust_env)

    def _watching(self, ask: LookupRequest) -> Reflector:
        from ._reflector import Reflector

        return Reflector(
            ask.service,
            self._memory,
            random.random,
            timeout=ask.timeout,
            timeout_seconds=self._timeout_seconds,
        )

    def _finder(self, ask: LookupRequest) -> Callable[[], tuple[ClusterConfig, Target]]:
        def find() -> tuple[ClusterConfig, Target]:
            from ._commands import Target
            from ._config import find_cluster

            access = find_cluster(*self._given, surroundings=self._surroundings)
            own = self._own_namespace()
            told = self._namespace or self._told_namespace()
            namespace = told or access.namespace or own or access.default_namespace
            domain = self._cluster_domain or self._surroundings.cluster_domain()
            name = ask.service.absolute(namespace, domain)
            return access, Target(
                server=urlsplit(access.server).netloc,
                credentials=access.describe(),
                namespace=ask.service.namespace or namespace or "",
                name=name,
                own_namespace=own,
            )

        return find

    def _told_namespace(self) -> str | None:
        return self._surroundings.environ.get("PEERDISCOVER_NAMESPACE", "").strip() or None

    def _own_namespace(self) -> str | None:
        with suppress(ConfigurationError):
            return self._surroundings.namespace()
        return None
