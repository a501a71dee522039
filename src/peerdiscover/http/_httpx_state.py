"""What a transport for httpx keeps beside `TransportState`: which of the two libraries it serves, and TLS."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from peerdiscover.peers import Peer

from ._attempts import PodPool
from ._certificates import TlsContext
from ._httpx import HttpxFlavor, libraries, library_of
from ._options import TransportSettings
from ._state import TransportState

if TYPE_CHECKING:
    import httpx

    from peerdiscover.discovery._base import _BaseDiscovery


class HttpxState(TransportState):
    """The state of a transport for httpx or httpx2.

    * `make_pool`: returns httpcore's pool for a pod, from the module httpcore, the pod, and options.
    * `clock`: the time that requests are measured in.
    """

    settings: TransportSettings
    mounted = "Client(mounts={'http://HOST': PodTransport(…)})"

    def __init__(
        self,
        discovery: _BaseDiscovery[Any],
        settings: TransportSettings,
        make_pool: Callable[[Any, PodPool, dict[str, Any]], Any],
        clock: Callable[[], float],
    ) -> None:
        super().__init__(discovery, settings, self._pod)
        self._make_pool = make_pool
        self._clock = clock
        self._library: HttpxFlavor | None = None
        self._pool_options: dict[str, Any] = {}
        if len(found := libraries()) == 1:
            self._bind(found[0])

    def library_of(self, request: httpx.Request) -> HttpxFlavor:
        """Return the library of a request; `TypeError` if another one is served already."""
        library = self._library
        if library is None or not isinstance(request, library.api.Request):
            if self.pools.unsubscribe is not None:
                raise TypeError(f"{request!r}: this transport already serves a client of another library")
            library = self._bind(library_of(request))
        return library

    def _pod(self, peer: Peer) -> PodPool:
        assert self._library is not None
        core, options = self._library.core, self._pool_options
        pod = PodPool(
            peer,
            self.settings.connect_timeout,
            self._clock,
            multiplexed=options["http2"],
            max_connections=options["max_connections"],
            core=core,
            before_tls=self._tls.refresh,
        )
        pod.pool = self._make_pool(core, pod, options)
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
