"""What a channel over pods keeps: a gRPC channel for each pod, and what its calls have in common.

Invariants:

* A pod's channel is made for its first call. When the pod left the set, or moved, the channel is forgotten,
  not closed: gRPC closes its connection when the last call that uses it has ended. The channel of a pod that
  left before it was made is for the call that picked it alone. Closing closes all of them, and none is made
  after that.
* A pod that a call found connected `is_ready` until a call fails there. While it is not, one call finds out
  whether it can be connected to, and others go elsewhere, for as long as gRPC may take for that.
* Pods are asked for from any thread. `_lock` is held for moments.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any
from weakref import WeakSet

from grpc import ChannelConnectivity, ChannelCredentials, StatusCode

from peerdiscover._text import quoted
from peerdiscover.errors import ClosedError, ConfigurationError
from peerdiscover.http._budget import RetryBudget
from peerdiscover.http._options import host_of, needs_no_key
from peerdiscover.names import ServiceName
from peerdiscover.peers import Peer

_CONNECT_TIMEOUT = 0.5  # seconds in which a pod is connected to, its first HTTP/2 frame included
_FAILURE_MEMORY = 0.05  # seconds for which a call that could not connect speaks for other calls, too
_BUDGET = 0.2  # the share of calls that may be sent again, though a pod may have processed them
_MAX_RECONNECT = 1000  # ms; gRPC's two minutes would be long for a container that is started anew
_DEFAULTS: dict[str, Any] = {
    # gRPC connects for as long as it would wait until it connects again, but 20 s at least.
    "grpc.initial_reconnect_backoff_ms": int(_CONNECT_TIMEOUT * 1000),
    "grpc.min_reconnect_backoff_ms": int(_CONNECT_TIMEOUT * 1000),
    "grpc.max_reconnect_backoff_ms": _MAX_RECONNECT,
    "grpc.enable_http_proxy": 0,
}


class Pod:
    """One pod, and the channel to it."""

    __slots__ = ("__weakref__", "channel", "connecting_until", "is_ready", "peer", "target")

    def __init__(self, peer: Peer, connect: Callable[[str], Any]) -> None:
        self.peer: Peer = peer
        self.target: str = _target_of(peer)
        self.channel: Any = connect(self.target)
        self.is_ready: bool = False
        self.connecting_until: float = 0.0

    def is_connecting(self, now: float) -> bool:
        """Whether a call finds out if the pod is there; others should go elsewhere, or wait."""
        return not self.is_ready and now < self.connecting_until

    def begin(self, now: float) -> bool:
        """A call begins here. False: it should not, since another one finds out."""
        if self.is_connecting(now):
            return False
        if not self.is_ready:
            self.connecting_until = now + _CONNECT_TIMEOUT
        return True

    def failed(self, now: float, *, connecting: bool) -> None:
        """A call failed here; `connecting` says that it could not connect."""
        self.is_ready = False
        self.connecting_until = now + _FAILURE_MEMORY if connecting else 0.0


def _target_of(peer: Peer) -> str:
    """Return the pod's address as gRPC writes it, in its errors, too."""
    if ":" in peer.address:
        return f"ipv6:%5B{peer.address.replace('%', '%25')}%5D:{peer.port}"
    return f"ipv4:{peer.address}:{peer.port}"


def _options_of(service: str, options: Sequence[tuple[str, Any]] | None) -> list[tuple[str, Any]]:
    """Return the options of each pod's channel: calls carry the service's name, and TLS verifies it."""
    name, given = ServiceName.parse(service), dict(options or ())
    defaults = dict(_DEFAULTS)
    # A list of addresses has no name. And gRPC makes the name that is verified the one that calls carry.
    if name.scheme != "static" and "grpc.ssl_target_name_override" not in given:
        port = f":{name.port}" if isinstance(name.port, int) else ""
        defaults["grpc.default_authority"] = f"{host_of(name)}{port}"
    return list({**defaults, **given}.items())


def connector(
    library: Any,
    service: str,
    credentials: ChannelCredentials | None,
    options: Sequence[tuple[str, Any]] | None,
    **given: Any,
) -> Callable[[str], Any]:
    """Return what makes a channel to an address; `library` is `grpc`, or `grpc.aio`."""
    given["options"] = _options_of(service, options)
    if credentials is None:
        return partial(library.insecure_channel, **given)
    return partial(library.secure_channel, credentials=credentials, **given)


class ChannelState:
    """The state of a channel.

    * `discovery`: where the pods come from.
    * `connect`: returns gRPC's channel for a pod's address.
    * `picker`: None for the discovery's `round_robin()`.
    * `idempotent`: names of methods, or a function that is given one.
    * `no_peers`: returns the error for having no pod, with this status and text.
    """

    def __init__(
        self,
        discovery: Any,
        connect: Callable[[str], Any],
        picker: Any,
        idempotent: Collection[str] | Callable[[str], bool],
        no_peers: Callable[[StatusCode, str], Exception],
    ) -> None:
        if isinstance(idempotent, str) or not (callable(idempotent) or isinstance(idempotent, Collection)):
            raise ConfigurationError(
                f"idempotent={quoted(idempotent)}: expected names of methods, such as ('Get',), or a function"
            )
        if picker is not None and not needs_no_key(picker):
            raise ConfigurationError(
                f"picker={quoted(picker)}: expected one whose pick() or lease() needs no argument"
            )
        self.discovery = discovery
        self.budget = RetryBudget(_BUDGET)
        self.no_peers = no_peers
        self._connect = connect
        self._picker = picker
        self._leases = hasattr(picker, "lease")
        self._idempotent = idempotent
        self._lock = threading.Lock()
        self.pods: dict[Peer, Pod] = {}
        """Those of the set that were called."""
        self._all_pods: WeakSet[Pod] = WeakSet()
        """Those with a call in flight that left, too."""
        self._unsubscribe: Callable[[], None] | None = None
        self.is_closed = False

    def is_idempotent(self, method: str) -> bool:
        """Return whether a method may be called again, though a pod may have processed the call."""
        if callable(self._idempotent):
            return bool(self._idempotent(method))
        return method in self._idempotent or method.rpartition("/")[2] in self._idempotent

    def pick(self) -> tuple[Peer, Any]:
        """Return a peer, and the lease to end when its call has ended (None if the picker has none)."""
        self._require_open()
        picker = self._picker
        if picker is None:
            picker = self._picker = self.discovery.round_robin()
        if not self._leases:
            return picker.pick(), None
        lease = picker.lease()
        return lease.__enter__(), lease

    def pod(self, peer: Peer) -> Pod:
        """Return the pod that a call goes to."""
        return self.pods.get(peer) or self._new_pod(peer)

    def _new_pod(self, peer: Peer) -> Pod:
        with self._lock:
            self._require_open()
            if self._unsubscribe is None:
                self._unsubscribe = self.discovery.on_change(lambda _: self._follow())
            pod = self.pods.get(peer)
            if pod is None:
                pod = Pod(peer, self._connect)
                self._all_pods.add(pod)
                if peer in self.discovery.peers:
                    self.pods[peer] = pod
        return pod

    def is_connecting(self, peer: Peer, now: float) -> bool:
        """Whether another call finds out if the pod is there."""
        pod = self.pods.get(peer)
        return pod is not None and pod.is_connecting(now)

    def _require_open(self) -> None:
        if self.is_closed:
            raise ClosedError("this channel was closed: make a new one")

    @property
    def connectivity(self) -> ChannelConnectivity:
        """What a channel of gRPC would say: READY, if there are pods to call."""
        if self.is_closed:
            return ChannelConnectivity.SHUTDOWN
        return ChannelConnectivity.READY if self.discovery.peers.others else ChannelConnectivity.CONNECTING

    def _follow(self) -> None:
        with self._lock:
            peers = set(self.discovery.peers)
            self.pods = {peer: pod for peer, pod in self.pods.items() if peer in peers}

    def close(self) -> list[Any]:
        """Return the channels to close. There are no more calls."""
        with self._lock:
            self.is_closed = True
            pods, self.pods = list(self._all_pods), {}
            unsubscribe, self._unsubscribe = self._unsubscribe, None
        if unsubscribe is not None:
            unsubscribe()
        return [pod.channel for pod in pods]
