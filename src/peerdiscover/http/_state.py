"""What a transport of either kind knows from its first request to its last; `_dispatch` has one request."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, Protocol

from peerdiscover.errors import ConfigurationError
from peerdiscover.names import ServiceName
from peerdiscover.peers import Peer, PeerSet
from peerdiscover.pickers import Picker

from ._attempts import PodPool
from ._httpx import HttpxFlavor, libraries, library_of
from ._options import TransportOptions, stands_for
from ._pools import PodPools
from ._retry import Budget

__all__ = ["TransportState"]


class Discovers(Protocol):
    """What the transports need of a discovery; both kinds have it."""

    @property
    def peers(self) -> PeerSet: ...
    def round_robin(self) -> Any: ...
    def on_change(self, callback: Callable[[Any], object]) -> Callable[[], None]: ...
    def report_failure(self, peer: Peer, error: BaseException | None = None) -> None: ...
    def report_success(self, peer: Peer) -> None: ...


class TransportState:
    """What a transport knows."""

    def __init__(
        self,
        discovery: Discovers,
        ways: TransportOptions,
        picker: Picker | None,
        pool: Callable[[Any, PodPool, dict[str, Any]], Any],
        options: dict[str, Any],
    ) -> None:
        if picker is not None and not _picks_alone(picker):
            raise ConfigurationError(
                f"picker={picker!r}: one whose pick() or lease() needs no argument is wanted"
            )
        self.discovery = discovery
        self.ways = ways
        self.picker = picker
        self._options = options
        self.budget = Budget(ways.budget)
        self.pods = PodPools(discovery, self._pod, ways.drain)
        self._pool = pool
        self._cut = ways.total_timeout is not None or ways.attempt_timeout is not None
        self._service = ServiceName.parse(discovery.peers.service)
        self._library: HttpxFlavor | None = None
        self._pool_options: dict[str, Any] = {}
        if len(found := libraries()) == 1:
            self._use(found[0])
        self._hosts: set[tuple[bytes, int | None]] = set()

    def validate(self, request: Any) -> tuple[HttpxFlavor, bytes, int | None]:
        """Its library, host and port. `ConfigurationError` where it is not for the service."""
        library = self._library
        if library is None or not isinstance(request, library.api.Request):
            if self.pods.any:
                raise TypeError(f"{request!r}: this transport serves a client of another library already")
            library = self._use(library_of(request))
        url = request.url
        where = (url.raw_host, url.port)
        if where not in self._hosts:
            self._check(url)
            if len(self._hosts) < 100:
                self._hosts.add(where)
        self.pods.watch()
        return library, *where

    def _check(self, url: Any) -> None:
        service = self._service
        if not stands_for(url.raw_host.decode("ascii"), service):
            raise ConfigurationError(
                f"{url}: {url.host!r} is not the service {str(service)!r} that this transport leads to; "
                "mount it for that host alone: Client(mounts={'http://HOST': PodTransport(…)})"
            )
        if url.port is not None and isinstance(service.port, int) and url.port != service.port:
            raise ConfigurationError(
                f"{url}: the service {str(service)!r} is discovered with port {service.port}"
            )

    def pick(self) -> tuple[Peer, Any]:
        """A peer, and what is to be left when its request is over."""
        picker = self.picker
        if picker is None:
            picker = self.picker = self.discovery.round_robin()
        lease = getattr(picker, "lease", None)
        if lease is None:
            return picker.pick(), None
        held = lease()
        return held.__enter__(), held

    def deadline(self, now: float, until: float) -> float:
        """When an attempt that begins now is cut."""
        if not self._cut:
            return math.inf
        deadline = math.inf if self.ways.total_timeout is None else until
        alone = self.ways.attempt_timeout
        return deadline if alone is None else min(deadline, now + alone)

    def _pod(self, peer: Peer) -> PodPool:
        assert self._library is not None
        core = self._library.core
        pod = PodPool(peer, self.ways.connect_timeout, self._options["http2"], core.WriteError)
        pod.pool = self._pool(core, pod, self._pool_options)
        return pod

    def _use(self, library: HttpxFlavor) -> HttpxFlavor:
        """From now on it serves clients of this library."""
        options = self._options
        limits = options["limits"] or library.api.Limits(
            max_connections=100,
            max_keepalive_connections=20,
            keepalive_expiry=5.0,  # httpx's own
        )
        self._pool_options = {
            "ssl_context": library.api.create_ssl_context(
                verify=options["verify"], cert=options["cert"], trust_env=options["trust_env"]
            ),
            "max_connections": limits.max_connections,
            "max_keepalive_connections": limits.max_keepalive_connections,
            "keepalive_expiry": limits.keepalive_expiry,
            "http1": options["http1"],
            "http2": options["http2"],
        }
        self._library = library
        return library


def _picks_alone(picker: object) -> bool:
    choose = getattr(picker, "lease", None) or getattr(picker, "pick", None)
    try:
        inspect.signature(choose).bind()  # type: ignore[arg-type]  # that is the question
    except TypeError:
        return False
    return True
