"""The source that watches EndpointSlices over the API, and reports each change as it happens.

Invariants:

* Nothing is read and no server is asked before the watch begins. What is wrong then is a failed answer.
* One `Kubernetes` may serve any number of discoveries and threads.
"""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from peerdiscover._text import quoted
from peerdiscover.answers import Answer, LookupRequest
from peerdiscover.errors import ConfigurationError
from peerdiscover.sources.environment import Environment, checked_domain, checked_namespace

from ._commands import ServerState, Target
from ._config import ClusterConfig, check_arguments, find_cluster

if TYPE_CHECKING:
    from ._reflector import Reflector


class Kubernetes:
    """Watches the EndpointSlices of a Service, on the API server: changes come within milliseconds.

    A pod needs no arguments. Outside of one, start `kubectl proxy` and write
    `Kubernetes(server="http://127.0.0.1:8001")`, or give `server`, `ca` and `token`.

    `server`: the URL of the API server, `https://HOST:PORT`; default: the pod's
    `ca`: the path of a PEM file that the server's certificate must verify against; default: the pod's, or
        with `server=` the system's trust store
    `token`: the bearer token itself; default: the pod's, or with `server=` none
    `namespace`: where names without a namespace are; default: `PEERDISCOVER_NAMESPACE`, else the pod's
    `cluster_domain`: stands in `Peer.fqdn`; default: found as `DNS` finds it
    `timeout_seconds`: after so many seconds the set is read again as a whole, from 1 to 3600; default: 300
    `trust_env`: use the proxies of the environment; default: no
    `environment`: what is read of the place where the program runs; default: the real one

    A port that is a number is the pods' own, used as it is. The pods of a Service with a cluster IP
    (`PeerSet.kind` "cluster-ip") are seen all the same. The source needs the rights `list` and
    `watch` on `endpointslices` (API group discovery.k8s.io) in the Service's namespace; an error says what to
    apply.

    A connection that died without a word, or a proxy that swallows events, can hide a change for
    `timeout_seconds` at most; `status.age` grows meanwhile. A watch that works is confirmed about once a
    minute, if any slices of the cluster change.

    `ConfigurationError` if an argument cannot be right.
    """

    kind = "k8s"

    def __init__(
        self,
        server: str | None = None,
        ca: str | os.PathLike[str] | None = None,
        token: str | None = None,
        *,
        namespace: str | None = None,
        cluster_domain: str | None = None,
        timeout_seconds: float = 300.0,
        trust_env: bool = False,
        environment: Environment | None = None,
    ) -> None:
        check_arguments(server, ca, token)
        if not isinstance(timeout_seconds, int | float) or not 1 <= timeout_seconds <= 3600:
            raise ConfigurationError(f"Kubernetes(timeout_seconds={quoted(timeout_seconds)}): from 1 to 3600")
        self._given = (server, ca, token)
        self._namespace = None if namespace is None else checked_namespace(namespace, "namespace=")
        self._cluster_domain = cluster_domain and checked_domain(cluster_domain, "cluster_domain=")
        self._timeout_seconds = timeout_seconds
        self._trust_env = trust_env
        self._environment = environment or Environment()
        self._server_state = ServerState()

    def __repr__(self) -> str:
        server = self._given[0]
        return f"Kubernetes(server={server!r})" if server else "Kubernetes()"

    def watch(self, request: LookupRequest) -> Iterator[Answer]:
        """Whole answers, as they come, for a thread. It ends by itself only when the caller cancels."""
        from ._drivers import drive

        find = partial(self._find, request)
        return drive(self._reflector(request), find, request, trust_env=self._trust_env)

    def awatch(self, request: LookupRequest) -> AsyncIterator[Answer]:
        """The same, awaited, under asyncio and trio. It never ends by itself."""
        from ._drivers import adrive

        find = partial(self._find, request)
        return adrive(self._reflector(request), find, trust_env=self._trust_env)

    def _reflector(self, request: LookupRequest) -> Reflector:
        from ._reflector import Reflector

        return Reflector(
            request.service,
            self._server_state,
            random.random,
            timeout=request.timeout,
            timeout_seconds=self._timeout_seconds,
        )

    def _find(self, request: LookupRequest) -> tuple[ClusterConfig, Target]:
        config = find_cluster(*self._given, environment=self._environment)
        namespace = request.service.namespace or self._namespace or self._environment.namespace()
        domain = self._cluster_domain or self._environment.cluster_domain()
        name = request.service.absolute(namespace, domain)
        return config, Target(
            server=urlsplit(config.server).netloc,
            credentials=config.describe(),
            namespace=namespace or "",
            name=name,
            pod_namespace=self._pod_namespace(),
            redactor=config.redactor,
        )

    def _pod_namespace(self) -> str | None:
        with suppress(ConfigurationError):
            return self._environment.namespace()
        return None
