"""A headless Service on loopback: its nameserver, its pods, and what may happen to both.

Rules of this room:

* What a call asks for is true when it returns: pods listen, and DNS says so.
* A pod listens before DNS knows it, and leaves DNS before it stops.
* Sockets belong to one thread (`_loop`); what DNS says is one immutable zone (`_zone`) that is
  replaced whole.
"""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from peerdiscover.errors import ClosedError, ConfigurationError
from peerdiscover.names import ServiceName, host_port
from peerdiscover.peers import Peer, PeerSet

from ._addresses import AddressesOnly, Family, OwnAddresses, Places, SharedAddress, can_bind_127
from ._loop import Loop
from ._nameserver import Misbehaviour, Nameserver, Query, Transport
from ._pods import Pod
from ._transport import Carrier
from ._zone import Service, ServiceEndpoint, ServicePort, Zone

if TYPE_CHECKING:
    from peerdiscover.sources.dns import DNS

__all__ = ["HeadlessService"]

# What Deployments append to a pod's name is made of these.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_SLICE = 100  # endpoints, as the EndpointSlice controller fills them by default


class HeadlessService:
    """Pods behind a headless Service, and a nameserver that knows them as a cluster's DNS would.

        with HeadlessService("web-headless.prod", replicas=3, ports={"http": 8080}) as svc:
            with Discovery("web-headless.prod:http", source=svc.source) as web: ...

    Everything is real and on loopback: the nameserver (UDP and TCP on one port, `svc.nameserver`)
    answers what CoreDNS answers, and each pod listens on an address of its own (127.x.y.z) and
    answers any HTTP request with a JSON object: `pod`, `address`, `port`, `n` (how many requests it
    has had), `method`, `path`, `host`.

    * `service`: `web-headless.prod`; the namespace, where the text has none, is `namespace`, else
      `default`. The pods are named `web-0`, `web-1`, …: after `name`, else the service without
      `-headless`. The first ordinal is `start`.
    * `ports`: numbers by name, `""` for one without a name; a number alone is an unnamed port. By
      default the port that the text names, else `{"http": 8080}`.
    * `hostnames`: True, a StatefulSet's names; False, a Deployment's pods, which DNS knows by their
      addresses (with `endpoint_pod_names` by their pods' names); a text, one hostname that all share.
    * `pods=False`: nobody listens. DNS gives `addresses` (one a pod, or a pair for both families),
      then addresses that are made up: for large sets, and for IPv6 where that is not at hand.
    * `family`: the pods' addresses. IPv6 has one loopback address, so listening pods share it.
    * `shared_address`: pods share 127.0.0.1 and differ by port, told by SRV; the numbers in `ports`
      are not used. That is so by itself where only 127.0.0.1 can be bound (macOS).
    * `kind="cluster-ip"`: a regular Service instead, one virtual address that leads to any pod.
    * `ttl`: seconds. `tcp=False`: connections to the nameserver are refused.

    Works with `with`, or `start()` and `close()`; may be started again after it was closed.
    `ConfigurationError` for arguments that contradict each other; `OSError` where a port is taken.
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
            raise ConfigurationError(f"{service!r}: a Service of a cluster is wanted: web-headless.prod")
        if family not in ("ipv4", "ipv6", "dual") or kind not in ("headless", "cluster-ip"):
            raise ConfigurationError(f"family={family!r}, kind={kind!r}: one of these is not known")
        if addresses and pods:
            raise ConfigurationError("addresses= is for pods=False: pods that listen choose their own")
        shared = pods and (shared_address or family != "ipv4" or not can_bind_127())
        if shared and isinstance(hostnames, str):
            raise ConfigurationError(f"hostnames={hostnames!r}: pods with one name need an address each")
        self.service: str = parsed.service
        self.namespace: str = parsed.namespace or namespace or "default"
        self.cluster_domain: str = (parsed.domain or cluster_domain).strip(".")
        self.ports: Mapping[str, int] = _ports(ports, parsed.port)
        self._name = name or parsed.service.removesuffix("-headless")
        self._hostnames = hostnames
        self._replicas = replicas
        self._first = start
        self._ttl = ttl
        self._family: Family = family
        self._kind = kind
        self._listen = pods
        self._addresses = tuple(addresses)
        self._shared = shared
        self._pod_names = endpoint_pod_names
        self._tcp = tcp
        self._lock = threading.RLock()
        self._loop: Loop | None = None
        self._reset()

    def _reset(self) -> None:
        self._pods: list[Pod] = []
        self._vip: Pod | None = None
        self._places = self._new_places()
        self._rng = random.Random(self._name)  # the same names of pods in each run
        self._asked = threading.Condition()
        self.queries: list[Query] = []
        """What the nameserver was asked, the oldest first. May be cleared."""
        zone = Zone(self.cluster_domain, self._ttl, pod_names=self._pod_names)
        self.dns: Nameserver = Nameserver(zone)
        """The nameserver without its sockets. `dns.zone` can be given more Services."""
        self._nameserver = ""

    def _new_places(self) -> Places:
        if not self._listen:
            return AddressesOnly(self.ports, self._family, self._addresses)
        if self._shared:
            return SharedAddress(tuple(self.ports), self._family)
        return OwnAddresses(self.ports)

    # Start and end

    def start(self) -> Self:
        """Opens the nameserver and the pods; they answer when it returns."""
        with self._lock:
            if self._loop is not None:
                raise ConfigurationError(f"{self!r} has been started already")
            self._reset()
            self._loop = Loop()
            self._loop.start()
            try:
                self._nameserver = Carrier(self._loop, self.dns, self._heard).open(tcp=self._tcp)
                self.scale(self._replicas)
            except BaseException:
                self.close()
                raise
        return self

    def close(self) -> None:
        """Closes every socket and ends the thread. May be called twice."""
        with self._lock:
            loop, self._loop = self._loop, None
            if loop is not None:
                loop.close()
                self._pods, self._vip = [], None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = f"{len(self._pods)} pods, nameserver {self._nameserver}" if self._loop else "not running"
        return f"<HeadlessService {self.service}.{self.namespace}: {state}>"

    # What there is

    @property
    def nameserver(self) -> str:
        """`"127.0.0.1:PORT"`, over UDP and TCP."""
        self._running()
        return self._nameserver

    @property
    def source(self) -> DNS:
        """A source for `Discovery` that asks this nameserver, with this Service's namespace and domain."""
        from peerdiscover.sources.dns import DNS

        return DNS(
            nameservers=[self.nameserver], namespace=self.namespace, cluster_domain=self.cluster_domain
        )

    @property
    def peers(self) -> tuple[Peer, ...]:
        """The pods as they are now, with their first port, in the order of a `PeerSet`."""
        with self._lock:
            pods = [self._vip] if self._vip else self._pods
            found = {peer.key: peer for peer in map(self._peer, pods)}
        return tuple(PeerSet(self.service, found.values()))

    # What may happen to the pods

    def scale(self, replicas: int) -> None:
        """So many pods. A StatefulSet's last ordinals go first, and those that are missing come."""
        if replicas < 0:
            raise ConfigurationError(f"scale({replicas}): not a number of pods")
        with self._lock:
            self._running()
            if self._hostnames is True:
                wanted = range(self._first, self._first + replicas)
                there = {pod.index for pod in self._pods}
                kept = [pod for pod in self._pods if pod.index in wanted]
                new = [self._open_pod(i) for i in wanted if i not in there]
            else:
                kept = self._pods[:replicas]
                new = [self._open_pod(0) for _ in range(replicas - len(kept))]
            self._change([*kept, *new])

    def replace(self, i: int, *addresses: str) -> None:
        """Pod `i` comes back elsewhere: at a new address, or at these (its own: it restarts there).

        In a StatefulSet that is the ordinal, and the pod keeps its name. Otherwise it is the place
        in the list of pods, and another pod comes. `LookupError` where there is no such pod.
        """
        with self._lock:
            old, loop = self._pod(i), self._running()
            if set(addresses) & set(old.addresses):
                loop.run(lambda: old.stop(loop))
            new = self._open_pod(old.index, addresses)
            self._change([new if pod is old else pod for pod in self._pods])

    def remove(self, i: int) -> None:
        """Pod `i` goes, until `scale` brings it back. `LookupError` where there is no such pod."""
        with self._lock:
            gone = self._pod(i)
            self._change([pod for pod in self._pods if pod is not gone])

    def blackhole(self, i: int) -> None:
        """Pod `i` stays in DNS and answers nothing any more, as on a node that was lost.

        Connections that are open go silent; a new `connect` hangs (its SYN is dropped: the queue of
        the listening socket is full and nobody accepts). `replace` and `remove` end it.
        """
        with self._lock:
            pod, loop = self._pod(i), self._running()
            if not self._listen:
                raise ConfigurationError(f"blackhole({i}): with pods=False nobody listens anyway")
            loop.run(lambda: pod.black_hole(loop))

    # What may happen to the nameserver

    def answer(
        self,
        mode: Misbehaviour | None,
        *,
        types: Iterable[str] | None = None,
        transport: Transport | None = None,
    ) -> None:
        """Lets the nameserver misbehave; see `Nameserver.answer`, which has the modes."""
        self._running()
        self.dns.answer(mode, types=types, transport=transport)

    def wait_for_queries(self, count: int = 1, timeout: float = 5.0) -> None:
        """Returns when `queries` holds that many; `TimeoutError` after `timeout` seconds."""
        with self._asked:
            if not self._asked.wait_for(lambda: len(self.queries) >= count, timeout):
                raise TimeoutError(f"{len(self.queries)} of {count} queries after {timeout} s")

    # Inside

    def _running(self) -> Loop:
        if self._loop is None:
            raise ClosedError(f"{self!r}: use it inside `with`, or between start() and close()")
        return self._loop

    def _heard(self, query: Query) -> None:
        with self._asked:
            self.queries.append(query)
            self._asked.notify_all()

    def _pod(self, i: int) -> Pod:
        self._running()
        named = {pod.index: pod for pod in self._pods}
        if self._hostnames is not True:
            named = dict(enumerate(self._pods))
        if i not in named:
            raise LookupError(f"no pod {i} behind {self.service}; there are {sorted(named)}")
        return named[i]

    def _open_pod(self, index: int, addresses: Sequence[str] = ()) -> Pod:
        place = self._places.open(addresses)
        if self._hostnames is True:
            name = f"{self._name}-{index}"
            return Pod(index, name, name, place)
        suffix = "".join(self._rng.choices(_ALPHABET, k=5))
        hostname = self._hostnames or None
        return Pod(index, f"{self._name}-7d9c5b8f64-{suffix}", hostname, place)

    def _change(self, pods: list[Pod]) -> None:
        """Serves the new pods, publishes the set, ends the others: in that order."""
        loop = self._running()
        before, after = set(self._pods), set(pods)
        self._pods = sorted(pods, key=lambda pod: pod.index) if self._hostnames is True else pods

        def serve() -> None:
            for pod in after - before:
                pod.serve(loop)

        def stop() -> None:
            for pod in before - after:
                pod.stop(loop)

        loop.run(serve)
        self._publish()
        loop.run(stop)

    def _publish(self) -> None:
        if self._kind == "cluster-ip" and self._vip is None:
            self._vip = self._open_vip()
        endpoints = [
            ServiceEndpoint(address, _service_ports(pod.ports), pod.hostname, pod.name)
            for pod in self._pods
            for address in pod.addresses
        ]
        six = [endpoint for endpoint in endpoints if ":" in endpoint.address]
        four = [endpoint for endpoint in endpoints if ":" not in endpoint.address]
        slices = [
            tuple(family[i : i + _SLICE]) for family in (four, six) for i in range(0, len(family), _SLICE)
        ]
        addresses = self._vip.addresses if self._vip else ()
        ports = _service_ports(self._vip.ports if self._vip else self.ports)
        service = Service(self.service, self.namespace, tuple(slices), addresses, ports)
        self.dns.zone = self.dns.zone.with_service(service)

    def _open_vip(self) -> Pod:
        vip = Pod(-1, self.service, None, self._places.open())
        loop = self._running()

        def accepted(sock: socket.socket) -> None:
            if self._pods:
                random.choice(self._pods).accept(loop, sock)
            else:
                sock.close()

        def serve() -> None:
            for sock in vip.place.sockets:
                loop.listen(sock, accepted)

        loop.run(serve)
        return vip

    def _peer(self, pod: Pod) -> Peer:
        port = next(iter(pod.ports.values()))
        label = pod.hostname or (pod.name if self._pod_names and pod is not self._vip else None)
        first = pod.addresses[0]
        if label is None:  # nothing ties two families together
            return Peer(host_port(first, port), first, port)
        fqdn = f"{label}.{self.service}.{self.namespace}.svc.{self.cluster_domain}."
        shared = isinstance(self._hostnames, str) and len(self._pods) > 1
        return Peer(f"{label}@{first}" if shared else label, first, port, pod.addresses, label, fqdn)


def _ports(ports: Mapping[str, int] | int | None, named: int | str | None) -> dict[str, int]:
    if ports is None:
        return {"": named} if isinstance(named, int) else {named or "http": 8080}
    found = {"": ports} if isinstance(ports, int) else dict(ports)
    if not found or not all(0 < number < 65536 for number in found.values()):
        raise ConfigurationError(f"ports={ports!r}: numbers between 1 and 65535 by name are wanted")
    return found


def _service_ports(ports: Mapping[str, int]) -> tuple[ServicePort, ...]:
    return tuple(ServicePort(number, name) for name, number in ports.items())
