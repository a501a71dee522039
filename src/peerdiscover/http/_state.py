"""What a transport of either kind keeps from its first request to its last; `_dispatch` has one request."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from peerdiscover.names import ServiceName
from peerdiscover.peers import Peer

from ._attempts import PodPool
from ._budget import RetryBudget
from ._certificates import TlsContext
from ._httpx import HttpxFlavor, libraries, library_of
from ._options import TransportSettings, stands_for
from ._pools import PodPools, TransportDiscovery

if TYPE_CHECKING:
    import httpx

__all__ = ["TransportState"]

_MAX_HOSTS = 100  # spellings of the service's host that are remembered as valid


class TransportState:
    """The state of a transport.

    * `discovery`: where the pods come from.
    * `settings`: the options of the transport.
    * `make_pool`: returns httpcore's pool for a pod, from the module httpcore, the pod, and options.
    * `clock`: the time that requests are measured in.
    """

    def __init__(
        self,
        discovery: TransportDiscovery,
        settings: TransportSettings,
        make_pool: Callable[[Any, PodPool, dict[str, Any]], Any],
        clock: Callable[[], float],
    ) -> None:
        self.discovery = discovery
        self.settings = settings
        self.picker = settings.picker
        self.budget = RetryBudget(settings.budget)
        self.pools = PodPools(discovery, self._pod, settings.drain)
        self._make_pool = make_pool
        self._clock = clock
        self._service = ServiceName.parse(discovery.peers.service)
        self._library: HttpxFlavor | None = None
        self._pool_options: dict[str, Any] = {}
        if len(found := libraries()) == 1:
            self._bind(found[0])
        self._hosts: set[tuple[bytes, int | None]] = set()

    def validate(self, request: httpx.Request) -> tuple[HttpxFlavor, bytes, int | None, Peer | None]:
        """Return its library, host and port, and the pod that its URL names (None: the service).

        A URL of another host is a `ConfigurationError` that is also a `RequestError` of the library: a
        response may have redirected there.
        """
        library = self._library
        if library is None or not isinstance(request, library.api.Request):
            if self.pools.any:
                raise TypeError(f"{request!r}: this transport already serves a client of another library")
            library = self._bind(library_of(request))
        url = request.url
        host = (url.raw_host, url.port)
        peer: Peer | None = None
        if host not in self._hosts and (peer := self._named_by(url)) is None:
            self._check(url, library.wrong_host)
            if len(self._hosts) < _MAX_HOSTS:
                self._hosts.add(host)
        self.pools.subscribe()
        return library, *host, peer

    def uses_pod_names(self, host: bytes) -> bool:
        """Return whether pods see their own name, or address, as the `Host` in place of this one."""
        return self.settings.host == "peer" or (host == b"static" and self._service.scheme == "static")

    def _named_by(self, url: httpx.URL) -> Peer | None:
        """Return the pod that a URL names as `Host` does, or by its address: pods redirect to themselves."""
        if self._service.scheme == "static":
            return None
        port = url.port or (443 if url.scheme == "https" else 80)
        host = url.host.rstrip(".").lower()
        for peer in self.discovery.peers:
            names = (peer.fqdn.rstrip(".").lower() if peer.fqdn else None, *peer.addresses)
            if port == peer.port and host in names:
                return peer
        return None

    def _check(self, url: httpx.URL, error: type[Exception]) -> None:
        service = self._service
        if not stands_for(url.raw_host.decode("ascii"), service):
            raise error(
                f"{url}: {url.host!r} is not the service {str(service)!r} that this transport sends to; "
                "mount it for that host alone: Client(mounts={'http://HOST': PodTransport(…)})"
            )
        if url.port is not None and isinstance(service.port, int) and url.port != service.port:
            raise error(f"{url}: the service {str(service)!r} is discovered with port {service.port}")

    def pick(self) -> tuple[Peer, Any]:
        """Return a peer, and the lease to release when its request ends (None if the picker has none)."""
        picker = self.picker
        if picker is None:
            picker = self.picker = self.discovery.round_robin()
        lease = getattr(picker, "lease", None)
        if lease is None:
            return picker.pick(), None
        held = lease()
        return held.__enter__(), held

    def attempt_deadline(self, now: float, deadline: float) -> float:
        """Return when an attempt that begins now is cut, in a request that is cut at `deadline`."""
        alone = self.settings.attempt_timeout
        return deadline if alone is None else min(deadline, now + alone)

    def _pod(self, peer: Peer) -> PodPool:
        assert self._library is not None
        core, settings = self._library.core, self.settings
        pod = PodPool(
            peer,
            settings.connect_timeout,
            settings.http2,
            self._pool_options["max_connections"],
            core,
            self._clock,
        )
        pod.before_tls = self._tls.refresh
        pod.pool = self._make_pool(core, pod, self._pool_options)
        return pod

    def _bind(self, library: HttpxFlavor) -> HttpxFlavor:
        """Serve clients of this library from now on."""
        settings = self.settings
        limits = settings.limits or library.api.Limits(
            max_connections=100,
            max_keepalive_connections=20,
            keepalive_expiry=4.0,  # below the 5 s after which uvicorn and others close, to be first
        )
        self._tls = TlsContext(library.api, settings.verify, settings.cert, settings.trust_env)
        self._pool_options = {
            "ssl_context": self._tls.context,
            "max_connections": limits.max_connections,
            "max_keepalive_connections": limits.max_keepalive_connections,
            "keepalive_expiry": limits.keepalive_expiry,
            "http1": settings.http1,
            "http2": settings.http2,
        }
        self._library = library
        return library
