"""A headless Service on loopback: its nameserver, its pods, and everything that can happen to them.

Invariants:

* A call has taken effect when it returns: pods listen, and DNS publishes them.
* A pod listens before DNS publishes it, and leaves DNS before it stops.
* Sockets belong to one thread (`_loop`). DNS answers from one immutable zone (`_zone`), which is
  replaced as a whole.
"""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal, Self

from peerdiscover._text import quoted
from peerdiscover.errors import ClosedError, ConfigurationError
from peerdiscover.names import ServiceName
from peerdiscover.peers import Peer, PeerSet

from ._addresses import AddressesOnly, Allocator, Family, OwnAddresses, SharedAddress, can_bind_127
from ._loop import Loop
from ._nameserver import Misbehaviour, Nameserver, Query, Transport
from ._pods import Pod
from ._published import Publication, ports_of
from ._transport import serve_dns
from ._zone import Zone

if TYPE_CHECKING:
    from peerdiscover.sources.dns import DNS

# The letters of the suffix that a Deployment gives to a pod's name.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


class HeadlessService:
    """Pods behind a headless Service, and a nameserver that publishes them as a cluster's DNS would.

        with HeadlessService("web-headless.prod", replicas=3, ports={"http": 8080}) as svc:
            with Discovery("web-headless.prod:http", source=svc.source) as web: ...

    Everything is real and on loopback: the nameserver (UDP and TCP on one port, `svc.nameserver`)
    answers what CoreDNS answers, and each pod listens on an address of its own (127.x.y.z) and
    answers any HTTP request with a JSON object: `pod`, `address`, `port`, `n` (how many requests it
    has had), `method`, `path`, `host`.

    * `service`: the Service's name, such as `web-headless.prod`.
    * `replicas`: the number of pods (3).
    * `ports`: port numbers by name, `""` for a port without one; a single number is an unnamed port.
      Default: the port in `service`, else `{"http": 8080}`.
    * `hostnames`: True: the names of a StatefulSet's pods; False: a Deployment's pods, which DNS knows
      by their addresses; a string: one hostname that all pods share.
    * `name`: the pods are called `NAME-0`, `NAME-1`, …; default: the service without `-headless`.
    * `start`: the first ordinal (0).
    * `ttl`: of all records, in seconds (5).
    * `namespace`: used if `service` has none; default: `default`.
    * `cluster_domain`: used if `service` has none (`cluster.local`).
    * `family`: of the pods' addresses. IPv6 has one loopback address, so listening pods share it.
    * `kind`: `"cluster-ip"` makes a regular Service, with one virtual address that leads to any pod.
    * `pods`: False: nothing listens, and DNS publishes `addresses`, then made-up ones. That allows
      large sets, and IPv6 on a machine that has none.
    * `addresses`: for `pods=False`: one address a pod, or a pair for both families.
    * `shared_address`: pods share 127.0.0.1 and differ by port, which SRV publishes; the numbers in
      `ports` are not used. Always so if only 127.0.0.1 can be bound (macOS).
    * `endpoint_pod_names`: pods without hostnames are published by name, not by address.
    * `tcp`: False: the nameserver refuses TCP connections.

    Use it in `with`, or call `start()` and `close()`; it can be started again after it was closed.
    Raises `ConfigurationError` for arguments that contradict each other, and `OSError` if a port is
    taken.
    """

    def __init__(
        self,
        service: str,
        replicas: int = 3,
        ports: Mapping[str, int] | int | None = None,
        *,
        hostnames: bool | str = True,
        name: str | None = None,
        start: int = 0,
        ttl: int = 5,
        namespace: str | None = None,
        cluster_domain: str = "cluster.local",
        family: Family = "ipv4",
        kind: Literal["headless", "cluster-ip"] = "headless",
        pods: bool = True,
        addresses: Sequence[str | Sequence[str]] = (),
        shared_address: bool = False,
        endpoint_pod_names: bool = False,
        tcp: bool = True,
    ) -> None:
        parsed = ServiceName.parse(service)
        if parsed.scheme != "dns" or parsed.is_external:
            raise ConfigurationError(
                f"{quoted(service)}: expected a Service of a cluster, such as web-headless.prod"
            )
        if family not in ("ipv4", "ipv6", "dual") or kind not in ("headless", "cluster-ip"):
            raise ConfigurationError(f"family={quoted(family)}, kind={quoted(kind)}: unknown")
        if addresses and pods:
            raise ConfigurationError("addresses= needs pods=False: pods that listen choose their own")
        shared = pods and (shared_address or family != "ipv4" or not can_bind_127())
        if shared and isinstance(hostnames, str):
            raise ConfigurationError(
                f"hostnames={quoted(hostnames)}: pods that share a name need an address each"
            )
        self.service: str = parsed.service
        self.namespace: str = parsed.namespace or namespace or "default"
        self.cluster_domain: str = (parsed.domain or cluster_domain).strip(".")
        self.ports: Mapping[str, int] = ports_of(ports, parsed.port)
        self._name = name or parsed.service.removesuffix("-headless")
        self._hostnames = hostnames
        self._replicas = replicas
        self._first = start
        self._ttl = ttl
        self._kind = kind
        self._listen = pods
        self._new_allocator: Callable[[], Allocator]
        if not pods:
            self._new_allocator = partial(AddressesOnly, self.ports, family, tuple(addresses))
        elif shared:
            self._new_allocator = partial(SharedAddress, tuple(self.ports), family)
        else:
            self._new_allocator = partial(OwnAddresses, self.ports)
        self._publication = Publication(
            name=self.service,
            namespace=self.namespace,
            cluster_domain=self.cluster_domain,
            shared_hostname=isinstance(hostnames, str),
            pod_names=endpoint_pod_names,
        )
        self._tcp = tcp
        self._lock = threading.RLock()
        self._loop: Loop | None = None
        self._reset()

    def _reset(self) -> None:
        self._pods: list[Pod] = []
        self._vip: Pod | None = None
        self._allocator = self._new_allocator()
        self._rng = random.Random(self._name)  # so that pods have the same names in each run
        # The lock is entered, not the Condition, in whose Python code a time limit of a test could strike.
        self._queries_lock = threading.Lock()
        self._received = threading.Condition(self._queries_lock)
        self.queries: list[Query] = []
        """The questions that the nameserver received, oldest first. May be cleared."""
        zone = Zone(self.cluster_domain, self._ttl, pod_names=self._publication.pod_names)
        self.dns: Nameserver = Nameserver(zone)
        """The nameserver without its sockets. More Services can be added to `dns.zone`."""
        self._nameserver = ""

    # Lifecycle

    def start(self) -> Self:
        """Start the nameserver and the pods; they answer when it returns."""
        with self._lock:
            if self._loop is not None:
                raise ConfigurationError(f"{quoted(self)} has been started already")
            self._reset()
            self._loop = Loop()
            try:
                self._nameserver = serve_dns(self._loop, self._respond, tcp=self._tcp)
                self.scale(self._replicas)
            except BaseException:
                self.close()
                raise
        return self

    def close(self) -> None:
        """Close every socket and end the thread. May be called twice."""
        with self._lock:
            loop, self._loop = self._loop, None
            self._pods, self._vip = [], None
            if loop is not None:
                loop.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = f"{len(self._pods)} pods, nameserver {self._nameserver}" if self._loop else "not running"
        return f"<HeadlessService {self.service}.{self.namespace}: {state}>"

    # State

    @property
    def nameserver(self) -> str:
        """Its address as `"127.0.0.1:PORT"`, for UDP and TCP."""
        self._running()
        return self._nameserver

    @property
    def source(self) -> DNS:
        """A source for `Discovery`: this nameserver, with this Service's namespace and domain."""
        from peerdiscover.sources.dns import DNS

        return DNS(
            nameservers=[self.nameserver], namespace=self.namespace, cluster_domain=self.cluster_domain
        )

    @property
    def peers(self) -> tuple[Peer, ...]:
        """The current pods with their first port, in the order of a `PeerSet`."""
        with self._lock:
            found = self._publication.peers(self._pods, self._vip)
        return tuple(PeerSet(self.service, found))

    # Pods

    def scale(self, replicas: int) -> None:
        """Set the number of pods. A StatefulSet loses its highest ordinals, and regains missing ones."""
        if replicas < 0:
            raise ConfigurationError(f"scale({replicas}): expected a number of pods")
        with self._lock:
            self._running()
            if self._hostnames is True:
                ordinals = range(self._first, self._first + replicas)
                there = {pod.index for pod in self._pods}
                kept = [pod for pod in self._pods if pod.index in ordinals]
                new = [self._open_pod(i) for i in ordinals if i not in there]
            else:
                kept = self._pods[:replicas]
                new = [self._open_pod(0) for _ in range(replicas - len(kept))]
            self._change([*kept, *new])

    def replace(self, i: int, *addresses: str) -> None:
        """Restart pod `i` at a new address, or at the given ones, which may be its own.

        In a StatefulSet `i` is the ordinal, and the pod keeps its name. Otherwise `i` is an index into
        the pods, and a pod with another name takes its place. Raises `LookupError` if there is no such
        pod.
        """
        with self._lock:
            old, loop = self._pod(i), self._running()
            if set(addresses) & set(old.addresses):
                loop.run(lambda: old.stop(loop))
            new = self._open_pod(old.index, addresses)
            self._change([new if pod is old else pod for pod in self._pods])

    def remove(self, i: int) -> None:
        """Remove pod `i`, until `scale` brings it back. Raises `LookupError` if there is no such pod."""
        with self._lock:
            gone = self._pod(i)
            self._change([pod for pod in self._pods if pod is not gone])

    def blackhole(self, i: int) -> None:
        """Make pod `i` unresponsive while it stays in DNS, as on a node that was lost.

        Open connections go silent. A new `connect` hangs: its SYN is dropped, because the queue of the
        listening socket is full and never emptied. `replace` and `remove` end it.
        """
        with self._lock:
            pod, loop = self._pod(i), self._running()
            if not self._listen:
                raise ConfigurationError(f"blackhole({i}): with pods=False nothing listens anyway")
            loop.run(lambda: pod.black_hole(loop))

    # Nameserver

    def answer(
        self,
        mode: Misbehaviour | None,
        *,
        types: Iterable[str] | None = None,
        transport: Transport | None = None,
    ) -> None:
        """Make the nameserver misbehave; see `Nameserver.answer` for the modes."""
        self._running()
        self.dns.answer(mode, types=types, transport=transport)

    def wait_for_queries(self, count: int = 1, timeout: float = 5.0) -> None:
        """Wait until `queries` holds that many; raise `TimeoutError` after `timeout` seconds."""
        with self._queries_lock:
            if not self._received.wait_for(lambda: len(self.queries) >= count, timeout):
                raise TimeoutError(f"{len(self.queries)} of {count} queries after {timeout} s")

    # Inside

    def _running(self) -> Loop:
        if self._loop is None:
            raise ClosedError(f"{self!r}: use it inside `with`, or between start() and close()")
        return self._loop

    def _respond(self, data: bytes, transport: Transport, source: tuple[str, int]) -> bytes | None:
        if query := Query.of(data, transport, source):
            with self._queries_lock:
                self.queries.append(query)
                self._received.notify_all()
        return self.dns.respond(data, transport=transport)

    def _pod(self, i: int) -> Pod:
        self._running()
        in_order = dict(enumerate(self._pods))
        named = {pod.index: pod for pod in self._pods} if self._hostnames is True else in_order
        if i not in named:
            raise LookupError(f"{self.service} has no pod {i}; it has {sorted(named)}")
        return named[i]

    def _open_pod(self, index: int, addresses: Sequence[str] = ()) -> Pod:
        binding = self._allocator.open(addresses)
        if self._hostnames is True:
            name = f"{self._name}-{index}"
            return Pod(index, name, name, *binding)
        suffix = "".join(self._rng.choices(_ALPHABET, k=5))
        return Pod(index, f"{self._name}-7d9c5b8f64-{suffix}", self._hostnames or None, *binding)

    def _change(self, pods: list[Pod]) -> None:
        """Start the new pods, publish the set, then stop the others."""
        loop = self._running()
        before, after = set(self._pods), set(pods)
        self._pods = sorted(pods, key=lambda pod: pod.index) if self._hostnames is True else pods

        for pod in after - before:
            loop.run(partial(pod.serve, loop))
        self._publish()
        for pod in before - after:
            loop.run(partial(pod.stop, loop))

    def _publish(self) -> None:
        if self._kind == "cluster-ip" and self._vip is None:
            loop, vip = self._running(), Pod(-1, "", None, *self._allocator.open())
            loop.run(lambda: vip.serve(loop, self._accept_for_any))
            self._vip = vip
        self.dns.zone = self.dns.zone.with_service(
            self._publication.service(self._pods, self._vip, self.ports)
        )

    def _accept_for_any(self, loop: Loop, sock: socket.socket) -> None:
        if self._pods:
            random.choice(self._pods).accept(loop, sock)
        else:
            sock.close()
