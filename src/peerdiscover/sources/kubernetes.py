"""Kubernetes: the source that watches EndpointSlices over the API server.

The floors of this room, each in a module of its own:

    _kubeconfig     reading a kubeconfig
    _access         where the API server is, and how one proves who one is
    _rights         what to say where one may not                               pure
    _slices         the union over slices, as one answer                        pure
    _troubles       back-off, and what went wrong in words                      pure
    _watching       list, watch, what follows from what comes                   no socket, no clock
    _streams        the waiting over httpx, once in threads and once awaited

Rules of this room:

* It tells by itself, and never ends: while the API server cannot be reached it says so, and goes on
  trying. What it says is the truth: it is believed at once.
* It never turns to DNS. `Fallback(Kubernetes(), DNS())` does, and so do `auto:` names.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import AsyncIterator, Iterator

from peerdiscover.answers import Answer, Ask
from peerdiscover.errors import ConfigurationError

from ._access import Access, check_arguments, find_access
from ._watching import Watching
from .surroundings import Surroundings, checked_domain, checked_namespace

__all__ = ["Kubernetes"]


class Kubernetes:
    """Watches the EndpointSlices of a Service; `k8s:` names mean this.

    In a pod nothing needs to be given: the service account has server, CA and token. It needs to `list`
    and `watch` EndpointSlices in the namespace of the Service; the error where it may not has the Role
    to apply. Elsewhere: `kubeconfig`, the path of one (else `KUBECONFIG`, else `~/.kube/config`), or
    `server` (`https://HOST:PORT`), `ca` (the path of a PEM file; else the system's trust store) and
    `token` (the text itself). TLS is always verified.

    `namespace` is the one that names without a namespace are in; else `PEERDISCOVER_NAMESPACE`, the
    kubeconfig's, the pod's. `cluster_domain` stands in `Peer.fqdn`, as with `DNS`. After
    `timeout_seconds` (less up to a fifth, by chance) a watch is begun anew with everything: for so long
    a watch that is open but silent may go unnoticed. `trust_env=True` follows `HTTPS_PROXY` and the like.

    `ConfigurationError` where arguments contradict each other. What is wrong with files, or with the
    server's certificate, is told to whoever waits for the first peers.
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
        surroundings: Surroundings | None = None,
    ) -> None:
        check_arguments(server, ca, token, kubeconfig)
        if not (isinstance(timeout_seconds, int | float) and 1 <= timeout_seconds < math.inf):
            raise ConfigurationError(f"Kubernetes(timeout_seconds={timeout_seconds!r}): seconds, at least 1")
        self._arguments = (server, ca, token, kubeconfig)
        self._namespace = namespace and checked_namespace(namespace, "Kubernetes(namespace=…): ")
        self._cluster_domain = cluster_domain and checked_domain(
            cluster_domain, "Kubernetes(cluster_domain=…): "
        )
        self._timeout_seconds = timeout_seconds
        self._trust_env = trust_env
        self._surroundings = surroundings or Surroundings()

    def __repr__(self) -> str:
        server, _, _, kubeconfig = self._arguments
        given = {"server": server, "kubeconfig": kubeconfig and os.fspath(kubeconfig)}
        return f"Kubernetes({', '.join(f'{name}={value!r}' for name, value in given.items() if value)})"

    def watch(self, ask: Ask) -> Iterator[Answer]:
        """Answers as they come. Raises `ConfigurationError` where there is no way to an API server."""
        from ._streams import watch

        access, watching = self._begin(ask)
        return watch(watching, access, ask, self._trust_env)

    def awatch(self, ask: Ask) -> AsyncIterator[Answer]:
        """The same, awaited, under asyncio and trio."""
        from ._streams import awatch

        access, watching = self._begin(ask)
        return awatch(watching, access, ask, self._trust_env)

    def _begin(self, ask: Ask) -> tuple[Access, Watching]:
        access = find_access(*self._arguments, surroundings=self._surroundings)
        service = ask.service
        own = self._surroundings.namespace()
        given = self._surroundings.environ.get("PEERDISCOVER_NAMESPACE", "").strip()
        namespace = service.namespace or self._namespace or (access.namespace if not given else None) or own
        domain = self._cluster_domain or self._surroundings.cluster_domain() or "cluster.local"
        name = service.absolute(namespace, domain)  # raises where no namespace is known
        assert namespace is not None
        watching = Watching(
            access,
            service,
            namespace,
            name,
            soon=ask.timeout / 2,
            timeout_seconds=self._timeout_seconds,
            random=random.random,
            own_namespace=own,
        )
        return access, watching
