"""`HeadlessService` as its users see it: pods that answer, DNS that follows, and what may go wrong."""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from peerdiscover import DNS, ClosedError, ConfigurationError, Discovery, Peer, resolve
from peerdiscover.testing import HeadlessService, Service, ServiceEndpoint, ServicePort
from tests.waiting import LONG

WEB = "web-headless.prod.svc.cluster.local."


def ask(
    svc: HeadlessService,
    name: str,
    kind: str,
    *,
    tcp: bool = False,
    edns: int | None = 1232,
    timeout: float = LONG,
) -> dns.message.Message:
    host, port = svc.nameserver.split(":")
    query = dns.message.make_query(name, kind)
    if edns is not None:
        query.use_edns(0, 0, edns)
    send = dns.query.tcp if tcp else dns.query.udp
    return send(query, host, port=int(port), timeout=timeout)


def addresses(svc: HeadlessService, name: str = WEB, kind: str = "A") -> set[str]:
    return {record.to_text() for rrset in ask(svc, name, kind).answer for record in rrset}


def get(peer: Peer, path: str = "/", method: str = "GET", body: bytes | None = None) -> dict[str, Any]:
    connection = http.client.HTTPConnection(*peer.sockaddr, timeout=LONG)
    try:
        connection.request(method, path, body)
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return answer


def same_peers(svc: HeadlessService, name: str) -> None:
    """What the library finds is what the Service says it has, key and address, hostname and fqdn."""
    found = resolve(name, source=svc.source, timeout=LONG)
    assert tuple(found) == svc.peers
    assert [p.hostname for p in found] == [p.hostname for p in svc.peers]
    assert [p.ordinal for p in found] == [p.ordinal for p in svc.peers]
    for peer, mine in zip(found, svc.peers, strict=True):
        assert mine.fqdn is None or peer.fqdn == mine.fqdn


# Pods


def test_pods_answer_with_their_names() -> None:
    with HeadlessService("web-headless.prod", replicas=3, ports={"http": 8080}) as svc:
        assert [peer.key for peer in svc.peers] == ["web-0", "web-1", "web-2"]
        assert {peer.port for peer in svc.peers} == {8080}
        assert len({peer.address for peer in svc.peers}) == 3
        for peer in svc.peers:
            answer = get(peer, "/some/path?x=1")
            assert answer == {
                "pod": peer.hostname,
                "address": peer.address,
                "port": 8080,
                "n": 1,
                "method": "GET",
                "path": "/some/path?x=1",
                "host": peer.hostport,
            }
        same_peers(svc, "web-headless.prod:http")


def test_a_connection_is_kept_and_bodies_are_read() -> None:
    with HeadlessService("web.prod", replicas=1) as svc:
        connection = http.client.HTTPConnection(*svc.peers[0].sockaddr, timeout=LONG)
        for n, (method, body) in enumerate([("GET", None), ("POST", b"x" * 300_000), ("PUT", b"")], 1):
            connection.request(method, "/", body)
            answer = json.loads(connection.getresponse().read())
            assert (answer["n"], answer["method"]) == (n, method)
        connection.request("HEAD", "/")
        response = connection.getresponse()
        assert response.status == 200
        assert response.read() == b""
        connection.close()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.0\r\n\r\n", 200),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\ncontent-length: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n", 411),
        (b"a" * 70_000, 431),
    ],
)
def test_what_ends_a_connection(sent: bytes, status: int) -> None:
    with (
        HeadlessService("web.prod", replicas=1) as svc,
        socket.create_connection(svc.peers[0].sockaddr, timeout=LONG) as sock,
        sock.makefile("rb") as stream,
    ):
        sock.sendall(sent)
        answer = stream.read()
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"HTTP/1.1 200") == (2 if status == 200 else 0)


def test_scaling_as_a_statefulset() -> None:
    with HeadlessService("web-headless.prod", replicas=2, start=123) as svc:
        assert [peer.ordinal for peer in svc.peers] == [123, 124]
        before = svc.peers
        svc.scale(4)
        assert [peer.key for peer in svc.peers] == ["web-123", "web-124", "web-125", "web-126"]
        assert svc.peers[:2] == before
        assert addresses(svc) == {peer.address for peer in svc.peers}
        for peer in svc.peers:
            assert get(peer)["pod"] == peer.key
        gone = svc.peers[2:]
        svc.scale(2)
        assert svc.peers == before
        assert addresses(svc) == {peer.address for peer in before}
        for peer in gone:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(peer.sockaddr, timeout=LONG)
        svc.scale(0)
        assert not svc.peers
        assert ask(svc, WEB, "A").rcode() == dns.rcode.NXDOMAIN
        with pytest.raises(ConfigurationError):
            svc.scale(-1)


def test_replacing_and_removing() -> None:
    with HeadlessService("web-headless.prod", replicas=3) as svc:
        old = svc.peers
        with socket.create_connection(old[0].sockaddr, timeout=LONG) as open_connection:
            svc.replace(0)
            open_connection.settimeout(LONG)
            assert open_connection.recv(1) == b""
        assert [peer.key for peer in svc.peers] == ["web-0", "web-1", "web-2"]
        assert svc.peers[0].address not in {peer.address for peer in old}
        assert svc.peers[1:] == old[1:]
        assert get(svc.peers[0])["pod"] == "web-0"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(old[0].sockaddr, timeout=LONG)

        svc.remove(1)
        assert [peer.key for peer in svc.peers] == ["web-0", "web-2"]
        assert ask(svc, f"web-1.{WEB}", "A").rcode() == dns.rcode.NXDOMAIN
        with pytest.raises(LookupError, match=r"has no pod 1; it has \[0, 2\]"):
            svc.replace(1)
        svc.scale(3)
        assert [peer.key for peer in svc.peers] == ["web-0", "web-1", "web-2"]


def test_an_address_is_taken_over_by_another_pod() -> None:
    with HeadlessService("web-headless.prod", replicas=2) as svc:
        first, second = svc.peers
        svc.replace(0)
        svc.replace(1, first.address)
        svc.replace(0, second.address)
        assert [(peer.key, peer.address) for peer in svc.peers] == [
            ("web-0", second.address),
            ("web-1", first.address),
        ]
        assert [get(peer)["pod"] for peer in svc.peers] == ["web-0", "web-1"]
        with pytest.raises(OSError, match=r"in use"):
            svc.replace(0, first.address)


def test_pods_of_a_deployment() -> None:
    with HeadlessService("app.prod", replicas=3, hostnames=False) as svc:
        assert all(peer.key == peer.hostport and peer.hostname is None for peer in svc.peers)
        names = {get(peer)["pod"] for peer in svc.peers}
        assert len(names) == 3
        same_peers(svc, "app.prod:http")
        old = set(svc.peers)
        svc.replace(1)
        assert len(set(svc.peers) - old) == 1
        assert {get(peer)["pod"] for peer in svc.peers} - names
        svc.remove(0)
        svc.remove(0)
        svc.scale(4)
        assert len(svc.peers) == 4
        svc.scale(1)
        assert len(svc.peers) == 1


def test_pods_behind_one_hostname() -> None:
    with HeadlessService("app.prod", replicas=2, hostnames="worker") as svc:
        assert [peer.key for peer in svc.peers] == sorted(f"worker@{peer.address}" for peer in svc.peers)
        same_peers(svc, "app.prod:http")
        svc.scale(1)
        assert [peer.key for peer in svc.peers] == ["worker"]


def test_labels_of_pod_names() -> None:
    with HeadlessService("app.prod", replicas=2, hostnames=False, endpoint_pod_names=True) as svc:
        assert [peer.hostname for peer in svc.peers] == [get(peer)["pod"] for peer in svc.peers]
        assert all(peer.ordinal is None for peer in svc.peers)
        same_peers(svc, "app.prod:http")


@pytest.mark.parametrize("hostnames", [True, False])
def test_pods_that_share_an_address(hostnames: bool) -> None:
    ports = {"http": 8080, "metrics": 9090}
    with HeadlessService("web-headless.prod", 3, ports, hostnames=hostnames, shared_address=True) as svc:
        assert {peer.address for peer in svc.peers} == {"127.0.0.1"}
        assert len({peer.port for peer in svc.peers}) == 3
        assert addresses(svc) == {"127.0.0.1"}
        same_peers(svc, "web-headless.prod:http")
        assert len({get(peer)["pod"] for peer in svc.peers}) == 3
        found = resolve("web-headless.prod:metrics", source=svc.source)
        assert {get(peer)["pod"] for peer in found} == {get(peer)["pod"] for peer in svc.peers}
        old = svc.peers
        svc.replace(1)
        assert len(set(svc.peers) - set(old)) == 1
        with pytest.raises(ConfigurationError, match=r"differ by port"):
            svc.replace(1, "127.0.0.2")
        svc.replace(1, "127.0.0.1")
        assert len({get(peer)["pod"] for peer in svc.peers}) == 3, "its own address may be chosen"
    with pytest.raises(ConfigurationError):
        HeadlessService("web.prod", hostnames="web", shared_address=True)


def test_only_one_loopback_address_can_be_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("peerdiscover.testing._service.can_bind_127", lambda: False)
    with HeadlessService("web.prod", 2) as svc:
        assert {peer.address for peer in svc.peers} == {"127.0.0.1"}


def test_ipv6_and_both_families() -> None:
    with HeadlessService("web.prod", 2, family="ipv6") as svc:
        assert addresses(svc, "web.prod.svc.cluster.local.", "AAAA") == {"::1"}
        assert addresses(svc, "web.prod.svc.cluster.local.") == set()
        same_peers(svc, "web.prod:http")
        assert [get(peer)["pod"] for peer in svc.peers] == ["web-0", "web-1"]
    with HeadlessService("web.prod", 2, family="dual") as svc:
        assert {peer.addresses for peer in svc.peers} == {("127.0.0.1", "::1")}
        same_peers(svc, "web.prod:http")
        for peer in svc.peers:
            with socket.create_connection(("::1", peer.port), timeout=LONG):
                pass


def test_addresses_without_pods() -> None:
    given = ["10.0.0.7", ("10.0.0.8", "fd00::8")]
    with HeadlessService("web.prod", 3, pods=False, addresses=given, family="dual") as svc:
        assert svc.peers[0].addresses == ("10.0.0.7",)
        assert svc.peers[1].addresses == ("10.0.0.8", "fd00::8")
        assert len(svc.peers[2].addresses) == 2
        same_peers(svc, "web.prod:http")
        svc.replace(0, "10.0.0.9")
        assert svc.peers[0].address == "10.0.0.9"
        with pytest.raises(ConfigurationError):
            svc.blackhole(0)
    with HeadlessService("web.prod", 2, hostnames=False, pods=False, family="dual") as svc:
        assert len(ask(svc, "web.prod.svc.cluster.local.", "SRV").answer[0]) == 4
        same_peers(svc, "web.prod:http")


def test_a_lost_node() -> None:
    with HeadlessService("web-headless.prod", replicas=2) as svc:
        peer = svc.peers[1]
        connection = http.client.HTTPConnection(*peer.sockaddr, timeout=LONG)
        connection.request("GET", "/")
        assert connection.getresponse().read()
        connection.sock.settimeout(0.3)
        svc.blackhole(1)
        assert addresses(svc) == {p.address for p in svc.peers}
        assert svc.peers[1] == peer
        connection.request("GET", "/")
        with pytest.raises(TimeoutError):
            connection.getresponse()
        connection.close()
        for _ in range(3):
            with pytest.raises(TimeoutError):
                socket.create_connection(peer.sockaddr, timeout=0.2)
        assert get(svc.peers[0])["pod"] == "web-0"
        svc.replace(1, peer.address)
        assert get(svc.peers[1])["pod"] == "web-1"


def test_a_regular_service() -> None:
    with HeadlessService("web.prod", replicas=3, kind="cluster-ip") as svc:
        (vip,) = svc.peers
        found = resolve("web.prod:http", source=svc.source)
        assert found.kind == "cluster-ip"
        assert [(peer.address, peer.port) for peer in found] == [(vip.address, vip.port)]
        seen: Counter[str] = Counter()
        for _ in range(60):  # chance misses one of three in 1 of 10¹⁰ runs
            seen[get(vip)["pod"]] += 1
        assert set(seen) == {"web-0", "web-1", "web-2"}
        svc.scale(0)
        assert addresses(svc, "web.prod.svc.cluster.local.") == {vip.address}
        with socket.create_connection(vip.sockaddr, timeout=LONG) as sock:
            assert sock.recv(1) == b""


def test_a_lost_node_behind_a_virtual_address() -> None:
    with HeadlessService("web.prod", replicas=1, kind="cluster-ip") as svc:
        (vip,) = svc.peers
        assert get(vip)["pod"] == "web-0"
        svc.blackhole(0)
        with socket.create_connection(vip.sockaddr, timeout=LONG) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            sock.settimeout(0.3)
            with pytest.raises(TimeoutError):
                sock.recv(1)


# DNS


@pytest.mark.parametrize(
    ("mode", "rcode"),
    [
        ("servfail", dns.rcode.SERVFAIL),
        ("nxdomain", dns.rcode.NXDOMAIN),
        ("refused", dns.rcode.REFUSED),
        ("nodata", dns.rcode.NOERROR),
    ],
)
def test_a_nameserver_that_fails(mode: Any, rcode: dns.rcode.Rcode) -> None:
    with HeadlessService("web-headless.prod") as svc:
        svc.answer(mode)
        for tcp in (False, True):
            answer = ask(svc, WEB, "A", tcp=tcp)
            assert answer.rcode() == rcode
            assert not answer.answer
            assert bool(answer.authority) == (mode in ("nxdomain", "nodata"))
        svc.answer(None)
        assert len(addresses(svc)) == 3


def test_a_nameserver_that_is_silent() -> None:
    with HeadlessService("web-headless.prod") as svc:
        svc.answer("timeout")
        for tcp in (False, True):
            with pytest.raises(dns.exception.Timeout):
                ask(svc, WEB, "A", tcp=tcp, timeout=0.1)
        assert [query.transport for query in svc.queries] == ["udp", "tcp"]


def test_the_last_rule_that_fits_counts() -> None:
    with HeadlessService("web-headless.prod", family="dual") as svc:
        svc.answer("servfail", types=["AAAA", "SRV"])
        svc.answer("refused", types=["SRV"], transport="tcp")
        assert ask(svc, WEB, "A").rcode() == dns.rcode.NOERROR
        assert ask(svc, WEB, "AAAA").rcode() == dns.rcode.SERVFAIL
        assert ask(svc, WEB, "SRV").rcode() == dns.rcode.SERVFAIL
        assert ask(svc, WEB, "SRV", tcp=True).rcode() == dns.rcode.REFUSED
        svc.answer(None, types=["AAAA"])
        assert ask(svc, WEB, "AAAA").rcode() == dns.rcode.NOERROR
        assert ask(svc, WEB, "SRV").rcode() == dns.rcode.SERVFAIL
        svc.answer(None)
        assert ask(svc, WEB, "SRV").rcode() == dns.rcode.NOERROR
        with pytest.raises(ConfigurationError, match=r"servfail"):
            svc.answer("broken")  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match=r"AAAA"):
            svc.answer("servfail", types=["AAAAA"])


def test_answers_that_are_cut_short() -> None:
    with HeadlessService("web-headless.prod", replicas=10) as svc:
        svc.answer("truncated")
        for tcp in (False, True):
            answer = ask(svc, WEB, "A", tcp=tcp)
            assert answer.flags & dns.flags.TC
            assert len(answer.answer[0]) == 5
            targets = [record.target.to_text()[:5] for record in ask(svc, WEB, "SRV", tcp=tcp).answer[0]]
            assert targets == [f"web-{i}" for i in range(5)]
        seen = {record.to_text() for _ in range(200) for record in ask(svc, WEB, "A").answer[0]}
        assert seen == {peer.address for peer in svc.peers}


def test_a_cache_that_serves_stale_answers() -> None:
    with HeadlessService("web-headless.prod", replicas=2) as svc:
        before = addresses(svc)
        svc.answer("stale")
        svc.scale(5)
        assert addresses(svc) == before
        assert ask(svc, WEB, "A").answer[0].ttl == 0
        svc.answer(None)
        assert len(addresses(svc)) == 5
        assert ask(svc, WEB, "A").answer[0].ttl == 5


def test_without_tcp() -> None:
    with HeadlessService("web-headless.prod", tcp=False) as svc:
        assert len(addresses(svc)) == 3
        with pytest.raises(ConnectionRefusedError):
            ask(svc, WEB, "A", tcp=True)


@pytest.mark.parametrize(
    ("count", "edns", "tcp", "kept", "cut"),
    [
        (28, None, False, 28, False),
        (29, None, False, 28, True),
        (73, 1232, False, 73, False),
        (74, 1232, False, 73, True),
        (4092, None, True, 4092, False),
        (4093, None, True, 4092, True),
        (4092, 1232, True, 4091, True),  # the OPT record takes room, too
        (5000, None, True, 4092, True),
    ],
)
def test_sizes(count: int, edns: int | None, tcp: bool, kept: int, cut: bool) -> None:
    with HeadlessService("web-headless.prod", count, hostnames=False, pods=False) as svc:
        answer = ask(svc, WEB, "A", tcp=tcp, edns=edns)
        assert len(answer.answer[0]) == kept
        assert bool(answer.flags & dns.flags.TC) == cut


def test_several_queries_on_one_connection() -> None:
    with HeadlessService("web-headless.prod", 1000, pods=False) as svc:
        host, port = svc.nameserver.split(":")
        with socket.create_connection((host, int(port)), timeout=LONG) as sock, sock.makefile("rb") as stream:
            queries = [dns.message.make_query(WEB, kind) for kind in ("A", "SRV", "AAAA", "TXT") * 10]
            whole = b"".join(query.to_wire(prepend_length=True) for query in queries)
            for at in range(0, len(whole), 7):  # in pieces that end anywhere
                sock.sendall(whole[at : at + 7])
            for query in queries:
                answer = dns.message.from_wire(stream.read(int.from_bytes(stream.read(2), "big")))
                assert query.is_response(answer)


def test_what_was_asked() -> None:
    with HeadlessService("web-headless.prod") as svc:
        ask(svc, WEB.upper(), "SRV", edns=4096)
        ask(svc, WEB, "HTTPS", tcp=True, edns=None)
        first, second = svc.queries
        assert (first.name, first.type, first.transport, first.edns) == (WEB.upper(), "SRV", "udp", 4096)
        assert (second.name, second.type, second.transport, second.edns) == (WEB, "TYPE65", "tcp", None)
        assert first.source[0] == "127.0.0.1"
        svc.queries.clear()
        with pytest.raises(TimeoutError):
            svc.wait_for_queries(1, timeout=0.01)
        with Discovery("web-headless.prod:http", source=svc.source):
            svc.wait_for_queries()
        assert svc.queries[0].name == f"_http._tcp.{WEB}"


def test_more_services_in_one_zone() -> None:
    with HeadlessService("web.prod") as svc:
        other = ServiceEndpoint("127.0.0.9", (ServicePort(80, "http"),), "db-0")
        svc.dns.zone = svc.dns.zone.with_service(Service("db", "stage", ((other,),)))
        found = resolve("db.stage:http", source=svc.source)
        assert [peer.hostport for peer in found] == ["127.0.0.9:80"]
        svc.scale(1)
        assert resolve("db.stage:http", source=svc.source)
        svc.dns.zone = svc.dns.zone.without_service("db", "stage")
        assert ask(svc, "db.stage.svc.cluster.local.", "A").rcode() == dns.rcode.NXDOMAIN


def test_other_namespaces_domains_and_ports() -> None:
    with HeadlessService("web", namespace="stage", cluster_domain="k8s.example", ports=8082, ttl=30) as svc:
        assert isinstance(svc.source, DNS)
        answer = ask(svc, "web.stage.svc.k8s.example.", "SRV")
        assert answer.answer[0].ttl == 30
        assert svc.peers[0].fqdn == "web-0.web.stage.svc.k8s.example."
        assert ask(svc, "web.stage.svc.cluster.local.", "A").rcode() == dns.rcode.SERVFAIL
        same_peers(svc, "web")
    with HeadlessService("web.prod:grpc", name="api") as svc:
        assert svc.peers[0].key == "api-0"
        same_peers(svc, "web.prod:grpc")
    with HeadlessService("web.prod.svc.other.domain:8081") as svc:
        same_peers(svc, "web.prod.svc.other.domain:8081")


# Start and end


def test_closing_and_starting_again() -> None:
    svc = HeadlessService("web-headless.prod", replicas=2)
    assert not svc.peers
    with pytest.raises(ClosedError):
        _ = svc.nameserver
    with pytest.raises(ClosedError):
        svc.scale(2)
    with pytest.raises(ClosedError):
        svc.answer("servfail")
    for _ in range(2):
        svc.start()
        with pytest.raises(ConfigurationError):
            svc.start()
        svc.remove(0)
        svc.answer("servfail")
        svc.close()
        svc.close()
        assert not svc.peers
    with svc:
        assert len(addresses(svc)) == 2
        with socket.create_connection(svc.peers[0].sockaddr, timeout=LONG) as open_connection:
            svc.close()
            assert open_connection.recv(1) == b""
    with pytest.raises(ClosedError):
        svc.replace(0)


def test_a_port_that_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with HeadlessService("web-headless.prod", replicas=3) as svc:
        # Everywhere, so that no other address helps.
        with socket.socket() as taken:
            taken.bind(("0.0.0.0", 0))
            taken.listen()
            port = taken.getsockname()[1]
            with pytest.raises(OSError, match=r"in use") as caught:
                HeadlessService("other.prod", ports={"http": port}).start()
            assert f"port {port}" in "".join(caught.value.__notes__)
        assert len(addresses(svc)) == 3


def test_a_handler_that_raises_is_reported_at_the_end() -> None:
    svc = HeadlessService("web-headless.prod", replicas=1).start()

    def broken(*_: object, **__: object) -> bytes:
        raise RuntimeError("broken")

    svc.dns.respond = broken  # type: ignore[method-assign]
    with pytest.raises(dns.exception.Timeout):
        ask(svc, WEB, "A", timeout=0.1)
    assert get(svc.peers[0])["pod"] == "web-0"
    with pytest.raises(RuntimeError, match=r"broken"):
        svc.close()
    assert svc.peers == ()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")  # that is what is tested
def test_a_child_keeps_no_pod_alive() -> None:
    with HeadlessService("web-headless.prod", replicas=2) as svc:
        old = svc.peers[0]
        (there_in, there_out), (done_in, done_out) = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            os.write(there_out, b"1")
            os.close(done_out)
            os.read(done_in, 1)  # until the parent is done
            os._exit(0)
        try:
            os.read(there_in, 1)
            svc.replace(0)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(old.sockaddr, timeout=LONG)
            assert get(svc.peers[0])["pod"] == "web-0"
        finally:
            for descriptor in (done_out, done_in, there_in, there_out):
                os.close(descriptor)
            _, status = os.waitpid(child, 0)
        assert status == 0


def test_it_waits_for_nothing() -> None:
    """Beginning and ending are work. A step that waits would take many times the processor's time for it, in
    the best of many rounds, too.
    """
    ratios = []
    for _ in range(20):
        start, worked = time.perf_counter(), time.process_time()
        with HeadlessService("web-headless.prod", replicas=3):
            pass
        ratios.append((time.perf_counter() - start) / (time.process_time() - worked))
    assert min(ratios) < 10


@pytest.mark.parametrize(
    "make",
    [
        lambda: HeadlessService("static:10.0.0.1:80"),
        lambda: HeadlessService("web.example."),
        lambda: HeadlessService("web.prod", ports={}),
        lambda: HeadlessService("web.prod", ports=70000),
        lambda: HeadlessService("web.prod", addresses=["10.0.0.1"]),
        lambda: HeadlessService("web.prod", family="ipv5"),  # type: ignore[arg-type]
        lambda: HeadlessService("web.prod", kind="nodeport"),  # type: ignore[arg-type]
    ],
)
def test_arguments_that_contradict(make: Callable[[], HeadlessService]) -> None:
    with pytest.raises(ConfigurationError):
        make()
