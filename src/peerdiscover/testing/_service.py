"""A headless Service on loopback: its nameserver, its pods, and what may happen to both.

Rules of this room:

* What a call asks for is true when it returns: pods listen, and DNS says so.
* A pod listens before DNS knows it, and leaves DNS before it stops.
* Sockets belong to one thread (`_loop`); what DNS says is one immutable zone (`_zone`) that is
  replaced whole.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import random
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from peerdiscover.errors import ClosedError, ConfigurationError
from peerdiscover.names import ServiceName
from peerdiscover.peers import Peer, PeerSet

from ._loop import Connection, Loop
from ._nameserver import Misbehaviour, Nameserver, Query, Transport
from ._pods import Pod, listener
from ._zone import Service, ServiceEndpoint, ServicePort, Zone

if TYPE_CHECKING:
    from peerdiscover.sources.dns import DNS

__all__ = ["HeadlessService"]

Family = Literal["ipv4", "ipv6", "dual"]

# What Deployments append to a pod's name is made of these.
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_TRIES = 64


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
            raise ConfigurationError(f"family={family!r}, kind={kind!r}: see the documentation")
        if addresses and pods:
            raise ConfigurationError("addresses= is for pods=False: listening pods choose their own")
        self.service = parsed.service
        self.namespace = parsed.namespace or namespace or "default"
        self.cluster_domain = (parsed.domain or cluster_domain).strip(".")
        self.ports = _ports(ports, parsed.port)
        self._name = name or parsed.service.removesuffix("-headless")
        self._hostnames = hostnames
        self._replicas = replicas
        self._first = start
        self._ttl = ttl
        self._family = family
        self._kind = kind
        self._listen = pods
        self._addresses = tuple(addresses)
        self._shared = pods and (shared_address or family != "ipv4" or not _can_bind_127())
        self._pod_names = endpoint_pod_names
        self._tcp = tcp
        if self._shared and isinstance(hostnames, str):
            raise ConfigurationError(f"hostnames={hostnames!r}: pods with one name need an address each")
        self._lock = threading.RLock()
        self._loop: Loop | None = None
        self._reset()

    def _reset(self) -> None:
        self._pods: list[Pod] = []
        self._vip: Pod | None = None
        self._rng = random.Random(self._name)
        self._counter = itertools.count()
        self._given: Iterator[str | Sequence[str]] = iter(self._addresses)
        self._base = random.randrange(1 << 14)  # another /24 each time: runs beside each other
        self._asked = threading.Condition()
        self.queries: list[Query] = []
        """What the nameserver was asked, the oldest first. May be cleared."""
        zone = Zone(self.cluster_domain, self._ttl, pod_names=self._pod_names)
        self.dns = Nameserver(zone)
        """The nameserver without its sockets. `dns.zone` can be given more Services."""
        self._nameserver = ""

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
                self._open_nameserver(self._loop)
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
        state = f"{len(self._pods)} pods, nameserver {self._nameserver}" if self._loop else "not started"
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
        from peerdiscover.sources.dns import DNS  # noqa: PLC0415  loads what only this needs

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
                gone = [pod for pod in self._pods if pod.index not in wanted]
                new = [self._open_pod(i) for i in wanted if i not in there]
            else:
                gone = self._pods[replicas:]
                new = [self._open_pod(0) for _ in range(replicas - len(self._pods))]
            self._change(gone, new)

    def replace(self, i: int, *addresses: str) -> None:
        """Pod `i` comes back elsewhere: at a new address, or at these.

        In a StatefulSet that is the ordinal, and the pod keeps its name. Otherwise it is the place
        in the list of pods, and another pod comes.
        """
        with self._lock:
            old = self._pod(i)
            if addresses and self._shared:
                raise ConfigurationError(f"replace({i}, …): pods that share an address differ by port")
            self._change([old], [self._open_pod(old.index, addresses)])

    def remove(self, i: int) -> None:
        """Pod `i` goes, until `scale` brings it back."""
        with self._lock:
            self._change([self._pod(i)], [])

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

    def _pod(self, i: int) -> Pod:
        self._running()
        by_ordinal = self._hostnames is True
        named = {pod.index: pod for pod in self._pods} if by_ordinal else dict(enumerate(self._pods))
        if i not in named:
            raise LookupError(f"no pod {i} behind {self.service}; there are {sorted(named)}")
        return named[i]

    def _change(self, gone: Iterable[Pod], new: Iterable[Pod]) -> None:
        """Serves the new pods, publishes the set, ends the others: in that order."""
        loop, ending, coming = self._running(), list(gone), list(new)

        def serve() -> None:
            for pod in coming:
                pod.serve(loop)

        def stop() -> None:
            for pod in ending:
                pod.stop(loop)

        loop.run(serve)
        # A pod that comes in the place of another takes its place in the list, too.
        places = {id(old): young for old, young in zip(ending, coming, strict=False)}
        kept = [places.pop(id(pod), pod) for pod in self._pods if id(pod) in places or pod not in ending]
        self._pods = kept + [pod for pod in coming if pod not in kept]
        if self._hostnames is True:
            self._pods.sort(key=lambda pod: pod.index)
        self._publish()
        loop.run(stop)

    def _publish(self) -> None:
        zone = self.dns.zone
        ports = tuple(ServicePort(number, name) for name, number in self.ports.items())
        if self._kind == "cluster-ip":
            vip = self._vip = self._vip or self._open_vip()
            ports = tuple(ServicePort(number, name) for name, number in vip.ports.items())
        endpoints = [
            ServiceEndpoint(
                address,
                tuple(ServicePort(number, name) for name, number in pod.ports.items()),
                pod.hostname,
                pod.name,
            )
            for pod in self._pods
            for address in pod.addresses
        ]
        endpoints.sort(key=lambda endpoint: ":" in endpoint.address)  # a slice for each family
        addresses = self._vip.addresses if self._vip else ()
        self.dns.zone = zone.with_service(
            Service(self.service, self.namespace, tuple(endpoints), addresses, ports)
        )

    def _peer(self, pod: Pod) -> Peer:
        port = next(iter(pod.ports.values()))
        label = pod.hostname or (pod.name if self._pod_names and pod is not self._vip else None)
        if label is None:
            addresses = pod.addresses[:1]  # without a hostname nothing ties two families together
            key = f"[{addresses[0]}]:{port}" if ":" in addresses[0] else f"{addresses[0]}:{port}"
            return Peer(key, addresses[0], port, addresses)
        shared = isinstance(self._hostnames, str) and len(self._pods) > 1
        return Peer(
            f"{label}@{pod.addresses[0]}" if shared else label,
            pod.addresses[0],
            port,
            pod.addresses,
            label,
            f"{label}.{self.service}.{self.namespace}.svc.{self.cluster_domain}.",
        )

    # Opening

    def _open_pod(self, index: int, addresses: Sequence[str] = ()) -> Pod:
        if self._hostnames is True:
            name = f"{self._name}-{index}"
            return self._open(index, name, name, addresses)
        suffix = "".join(self._rng.choices(_ALPHABET, k=5))
        hostname = self._hostnames if isinstance(self._hostnames, str) else None
        return self._open(index, f"{self._name}-7d9c5b8f64-{suffix}", hostname, addresses)

    def _open_vip(self) -> Pod:
        vip = self._open(-1, self.service, None, ())
        loop = self._running()

        def accepted(sock: socket.socket) -> None:
            live = [pod for pod in self._pods if pod.sockets]
            if live:
                random.choice(live).accept(loop, sock)
            else:
                sock.close()

        loop.run(lambda: [loop.listen(sock, accepted) for sock in vip.sockets])
        return vip

    def _open(self, index: int, name: str, hostname: str | None, addresses: Sequence[str]) -> Pod:
        if not self._listen:
            where = tuple(addresses) or self._made_up()
            return Pod(index, name, hostname, where, self.ports)
        if self._shared:
            both = {"ipv4": ("127.0.0.1",), "ipv6": ("::1",), "dual": ("127.0.0.1", "::1")}[self._family]
            opened = [_listeners(both, 0) for _ in self.ports]
            ports = {name: socks[0].getsockname()[1] for name, socks in zip(self.ports, opened, strict=True)}
            return Pod(index, name, hostname, both, ports, [sock for socks in opened for sock in socks])
        where, sockets = self._open_own(addresses[0] if addresses else None)
        return Pod(index, name, hostname, (where,), self.ports, sockets)

    def _open_own(self, address: str | None) -> tuple[str, list[socket.socket]]:
        """Listeners for all ports on an address of their own: this one, or the next that is free."""
        for attempt in range(_TRIES):
            n = next(self._counter)
            where = address or f"127.{64 + self._base // 256}.{(self._base + n // 254) % 256}.{n % 254 + 1}"
            try:
                return where, _all_or_none(lambda port, where=where: listener(where, port), self.ports.values())
            except OSError as error:
                if address or error.errno != errno.EADDRINUSE or attempt == _TRIES - 1:
                    error.add_note(f"a pod of {self.service} on {where}, ports {list(self.ports.values())}")
                    raise
        raise AssertionError

    def _made_up(self) -> tuple[str, ...]:
        given = next(self._given, None)
        if given is not None:
            return (given,) if isinstance(given, str) else tuple(given)
        n = next(self._counter)
        v4, v6 = f"10.244.{n // 254 % 256}.{n % 254 + 1}", f"fd00:10:244::{n + 1:x}"
        return {"ipv4": (v4,), "ipv6": (v6,), "dual": (v4, v6)}[self._family]

    def _open_nameserver(self, loop: Loop) -> None:
        udp, tcp = _open_both()
        port = udp.getsockname()[1]
        self._nameserver = f"127.0.0.1:{port}"

        def serve() -> None:
            loop.add(udp, lambda _events: self._datagrams(udp))
            if self._tcp:
                loop.listen(tcp, lambda sock: self._connected(loop, sock))
            else:
                loop.keep(tcp)  # bound and not listening: connections are refused, the port stays ours

        if self._tcp:
            tcp.listen(128)
        loop.run(serve)

    # In the loop's thread

    def _datagrams(self, udp: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                data, source = udp.recvfrom(65535)
                answer = self._respond(data, "udp", source)
                if answer is not None:
                    with contextlib.suppress(OSError):  # larger than a datagram can be, or nobody there
                        udp.sendto(answer, source)

    def _connected(self, loop: Loop, sock: socket.socket) -> None:
        source = sock.getpeername()

        def protocol(received: bytearray) -> tuple[bytes, bool]:
            out = b""
            while len(received) >= 2 and len(received) >= (end := 2 + int.from_bytes(received[:2], "big")):
                data = bytes(received[2:end])
                del received[:end]
                answer = self._respond(data, "tcp", source)
                if answer is not None:
                    out += len(answer).to_bytes(2, "big") + answer
            return out, True

        Connection(loop, sock, protocol)

    def _respond(self, data: bytes, transport: Transport, source: tuple[str, int]) -> bytes | None:
        query = Query.of(data, transport, source)
        if query is not None:
            with self._asked:
                self.queries.append(query)
                self._asked.notify_all()
        return self.dns.respond(data, transport=transport)


def _ports(ports: Mapping[str, int] | int | None, named: int | str | None) -> dict[str, int]:
    if ports is None:
        if isinstance(named, int):
            return {"": named}
        return {named or "http": 8080}
    found = {"": ports} if isinstance(ports, int) else dict(ports)
    if not found or not all(0 < number < 65536 for number in found.values()):
        raise ConfigurationError(f"ports={ports!r}: numbers between 1 and 65535 by name are wanted")
    return found


def _can_bind_127() -> bool:
    """Whether every address of 127.0.0.0/8 can be bound, as on Linux, or 127.0.0.1 alone."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.64.0.1", 0))
    except OSError:
        return False
    return True


def _all_or_none(open_one: Callable[[int], socket.socket], ports: Iterable[int]) -> list[socket.socket]:
    opened: list[socket.socket] = []
    try:
        for port in ports:
            opened.append(open_one(port))
    except BaseException:
        for sock in opened:
            sock.close()
        raise
    return opened


def _listeners(addresses: Sequence[str], port: int) -> list[socket.socket]:
    """Listening sockets with one port number, free on each of these addresses."""
    for attempt in range(_TRIES):
        first = listener(addresses[0], port)
        try:
            chosen = first.getsockname()[1]
            return [first, *_all_or_none(lambda _i, p=chosen: listener(addresses[1], p), range(1, len(addresses)))]
        except OSError as error:
            first.close()
            if error.errno != errno.EADDRINUSE or attempt == _TRIES - 1:
                raise
    raise AssertionError


def _open_both() -> tuple[socket.socket, socket.socket]:
    """A UDP and a TCP socket with one port number."""
    for attempt in range(_TRIES):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            tcp.bind(("127.0.0.1", 0))
            udp.bind(tcp.getsockname())
        except OSError:
            udp.close()
            tcp.close()
            if attempt == _TRIES - 1:
                raise
        else:
            return udp, tcp
    raise AssertionError
