"""What a transport of either kind keeps from its first request to its last; `_dispatch` has one request."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from peerdiscover._text import printable
from peerdiscover.errors import NoPeersError
from peerdiscover.names import ServiceName
from peerdiscover.peers import Peer

from ._attempts import Attempt, PodPool, release
from ._budget import RetryBudget
from ._options import PodSettings, stands_for
from ._pools import PodPools

if TYPE_CHECKING:
    from peerdiscover.discovery._base import _BaseDiscovery


_MAX_HOSTS = 100  # spellings of the service's host that are remembered as valid


class TransportState:
    """The state of a transport. `make_pod` returns a pod's pool of connections."""

    mounted: str
    """An example of how a transport is mounted, of a subclass; errors show it."""

    def __init__(
        self, discovery: _BaseDiscovery[Any], settings: PodSettings, make_pod: Callable[[Peer], PodPool]
    ) -> None:
        self.discovery = discovery
        self.settings = settings
        self._picker = settings.picker
        self._pick: Callable[[], Peer] | None = None
        """The `pick` of a picker without leases, once it was used."""
        self.budget = RetryBudget(settings.budget)
        self.pools = PodPools(discovery, make_pod, settings.drain)
        self._service = ServiceName.parse(discovery.peers.service)
        self._is_static = self._service.scheme == "static"
        self._pod_names = settings.host == "peer"
        self._hosts: set[tuple[str, int | None]] = set()

    def validate(self, scheme: str, host: str, port: int | None, error: type[Exception]) -> Peer | None:
        """Return the pod that a URL names; None: the service.

        A URL of another host is an `error`, which should be one of the library, too: a response may have
        redirected there. `port` is None if the URL has none, or its scheme's.
        """
        peer: Peer | None = None
        if (host, port) not in self._hosts and (peer := self._named_by(scheme, host, port)) is None:
            self._check(scheme, host, port, error)
            if len(self._hosts) < _MAX_HOSTS:
                self._hosts.add((host, port))
        if self.pools.unsubscribe is None:
            self.pools.subscribe()
        return peer

    def uses_pod_names(self, host: str) -> bool:
        """Return whether pods see their own name, or address, as the `Host` in place of this one."""
        return self._pod_names or (self._is_static and host == "static")

    def _named_by(self, scheme: str, host: str, port: int | None) -> Peer | None:
        """Return the pod that a URL names as `Host` does, or by its address: pods redirect to themselves."""
        port = port or (443 if scheme == "https" else 80)
        host = host.rstrip(".").lower()
        for peer in self.discovery.peers:
            names = (peer.fqdn.rstrip(".").lower() if peer.fqdn else None, *peer.addresses)
            if port == peer.port and host in names:
                return peer
        return None

    def _check(self, scheme: str, host: str, port: int | None, error: type[Exception]) -> None:
        # The rest of the URL is not shown: there may be a password in it, or a token.
        service, host_shown = self._service, printable(host)
        shown = f"{scheme}://{host_shown}"
        if not stands_for(host, service):
            raise error(
                f"{shown}: {host_shown!r} is not the service {str(service)!r} that this transport sends to; "
                f"mount it for that host alone: {self.mounted}"
            )
        if port is not None and isinstance(service.port, int) and port != service.port:
            raise error(
                f"{shown}:{port}: the service {str(service)!r} is discovered with port {service.port}"
            )

    def first_attempt(self, now: float, total_timeout: float | None, is_small: bool) -> Attempt | None:
        """Return the first attempt of a new request, on the pod that is picked; None if that is not free, or
        there is none.
        """
        self.budget.add_request(now)
        deadline, attempt_timeout = math.inf, self.settings.attempt_timeout
        if total_timeout is not None or attempt_timeout is not None:
            deadline = now + min(filter(None, (total_timeout, attempt_timeout)))
        try:
            peer, lease = self.pick()
        except NoPeersError:
            return None
        attempt = self.pools.start_if_free(peer, now, deadline, lease, is_small)
        if attempt is None:
            release(lease)
        return attempt

    def pick(self) -> tuple[Peer, Any]:
        """Return a peer, and the lease to release when its request ends (None if the picker has none)."""
        if self._pick is not None:
            return self._pick(), None
        if self._picker is None:
            self._picker = self.discovery.round_robin()
        lease = getattr(self._picker, "lease", None)
        if lease is None:
            self._pick = self._picker.pick
            return self._pick(), None
        held = lease()
        return held.__enter__(), held
