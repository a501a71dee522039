"""What sets look like: names, ordinals, families, domains; one lookup each, on Knot and on BIND."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import dns.message
import dns.query
import dns.rrset
import pytest

from peerdiscover import (
    DNS,
    Answer,
    ConfigurationError,
    NameNotFoundError,
    OrdinalNotFoundError,
    Outcome,
    PeerSet,
    aresolve,
    resolve,
)
from peerdiscover.sources.environment import Environment, ResolvConf
from tests.tools.nameservers import Authoritative, Bind, Knot, Pod, Proxy, free_endpoint, pods_of

from .helpers import SERVICE, addresses, hostnames, lookup, lookup_in

NAME = f"{SERVICE}.svc.cluster.local."

Find = Callable[..., PeerSet]


def has_ipv6() -> bool:
    try:
        free_endpoint("::1")
    except (AssertionError, OSError):
        return False
    return True


@pytest.fixture(params=[Knot, Bind])
def server(request: pytest.FixtureRequest) -> Iterator[Authoritative]:
    with request.param() as running:
        yield running


@pytest.fixture(params=["threads", "asyncio", "trio"])
def find(request: pytest.FixtureRequest, server: Authoritative) -> Find:
    """Resolves once at the server, in each of the three worlds."""

    def found(service: str, **dns: Any) -> PeerSet:
        source = DNS([server.nameserver], **dns)
        if request.param == "threads":
            return resolve(service, source=source)

        async def awaited() -> PeerSet:
            return await aresolve(service, source=source)

        return anyio.run(awaited, backend=request.param)

    return found


@pytest.mark.parametrize("service", [f"{SERVICE}:8080", f"{SERVICE}:http", SERVICE, f"_http._tcp.{SERVICE}"])
def test_three_pods_of_a_statefulset(server: Authoritative, find: Find, service: str) -> None:
    server.publish(SERVICE, pods_of("web", 3))
    peers = find(service)
    assert [peer.key for peer in peers] == ["web-0", "web-1", "web-2"]
    assert [peer.ordinal for peer in peers] == [0, 1, 2]
    assert [peer.hostport for peer in peers] == ["10.244.0.1:8080", "10.244.0.2:8080", "10.244.0.3:8080"]
    assert peers[0].fqdn == f"web-0.{NAME}"
    assert peers.kind == "headless"


def test_pods_without_hostnames(server: Authoritative, find: Find) -> None:
    server.publish(SERVICE, pods_of(None, 3))
    for service in f"{SERVICE}:8080", f"{SERVICE}:http", SERVICE:
        peers = find(service)
        assert [peer.key for peer in peers] == ["10.244.0.1:8080", "10.244.0.2:8080", "10.244.0.3:8080"]
        assert hostnames(peers) == [None, None, None]
    with pytest.raises(OrdinalNotFoundError, match="none of the 3 pods has one"):
        peers.ordinal(0)


def test_ordinals_that_do_not_start_at_zero(server: Authoritative, find: Find) -> None:
    server.publish(SERVICE, pods_of("web", 3, start=123))
    peers = find(f"{SERVICE}:8080")
    assert [peer.ordinal for peer in peers] == [123, 124, 125]
    assert peers.ordinal(124).address == "10.244.0.2"
    with pytest.raises(OrdinalNotFoundError, match="123–125"):
        peers.ordinal(0)


def test_names_with_several_numbers_and_names_with_none(server: Authoritative, find: Find) -> None:
    server.publish(
        SERVICE,
        [
            Pod(("10.244.0.1",), "foo-0-bar-1"),
            Pod(("10.244.0.2",), "foo-0-bar-10"),
            Pod(("10.244.0.3",), "foo-0-bar-2"),
            Pod(("10.244.0.4",), "leader"),
        ],
    )
    peers = find(f"{SERVICE}:8080")
    assert [(peer.key, peer.ordinal) for peer in peers] == [
        ("foo-0-bar-1", 1),
        ("foo-0-bar-2", 2),
        ("foo-0-bar-10", 10),
        ("leader", None),
    ]


def test_two_statefulsets_with_an_ordinal_zero_each(server: Authoritative, find: Find) -> None:
    server.publish(SERVICE, pods_of("blue", 2) + pods_of("green", 1, first="10.244.1.1"))
    peers = find(f"{SERVICE}:8080")
    assert [peer.key for peer in peers] == ["blue-0", "green-0", "blue-1"]
    assert peers.ordinal(1).key == "blue-1"
    with pytest.raises(OrdinalNotFoundError, match="blue-0 and green-0"):
        peers.ordinal(0)


def test_several_pods_behind_one_hostname(server: Authoritative, find: Find) -> None:
    server.publish(SERVICE, [Pod(("10.244.0.1",), "web"), Pod(("10.244.0.2",), "web")])
    for service in f"{SERVICE}:8080", f"{SERVICE}:http":
        assert [peer.key for peer in find(service)] == ["web@10.244.0.1", "web@10.244.0.2"]


def test_two_ports(server: Authoritative, find: Find) -> None:
    server.publish(SERVICE, pods_of("web", 2), ports={"http": 8080, "metrics": 9090})
    assert [peer.port for peer in find(f"{SERVICE}:metrics")] == [9090, 9090]
    assert [peer.port for peer in find(f"{SERVICE}:8080")] == [8080, 8080]
    with pytest.raises(ConfigurationError, match=r"8080.*9090"):
        find(SERVICE)
    with pytest.raises(NameNotFoundError, match="'grpc'"):
        find(f"{SERVICE}:grpc")


@pytest.mark.parametrize("hostname", ["web", None])
def test_ipv6_only(server: Authoritative, find: Find, hostname: str | None) -> None:
    server.publish(SERVICE, pods_of(hostname, 2, first="fd00:10:244::1"))
    for service in f"{SERVICE}:8080", f"{SERVICE}:http":
        assert [peer.hostport for peer in find(service)] == ["[fd00:10:244::1]:8080", "[fd00:10:244::2]:8080"]
        assert len(find(service, family="ipv6")) == 2
        with pytest.raises(NameNotFoundError):
            find(service, family="ipv4")


def test_dual_stack_with_hostnames(server: Authoritative, find: Find) -> None:
    """The hostname ties both addresses to one pod."""
    server.publish(SERVICE, pods_of("web", 2, and_first="fd00:10:244::1"))
    for service in f"{SERVICE}:8080", f"{SERVICE}:http":
        peers = find(service)
        assert [peer.addresses for peer in peers] == [
            ("10.244.0.1", "fd00:10:244::1"),
            ("10.244.0.2", "fd00:10:244::2"),
        ]
        assert addresses(find(service, family="ipv6")) == ["fd00:10:244::1", "fd00:10:244::2"]


def test_dual_stack_without_hostnames(server: Authoritative, find: Find) -> None:
    """Nothing ties the two addresses together: those of IPv4 count, so that no pod stands twice."""
    server.publish(SERVICE, pods_of(None, 2, and_first="fd00:10:244::1"))
    for service in f"{SERVICE}:8080", f"{SERVICE}:http":
        assert addresses(find(service)) == ["10.244.0.1", "10.244.0.2"]
        assert addresses(find(service, family="ipv6")) == ["fd00:10:244::1", "fd00:10:244::2"]


@pytest.mark.parametrize("hostname", ["web", None])
def test_an_ipv4_client_of_a_dual_stack_name(server: Authoritative, hostname: str | None) -> None:
    """It never sees an address that it cannot reach, and never asks for one."""
    server.publish(SERVICE, pods_of(hostname, 2, and_first="fd00:10:244::1"))
    with Proxy(server) as proxy:
        for service in f"{SERVICE}:8080", f"{SERVICE}:http":
            peers = resolve(service, source=DNS([proxy.nameserver], family="ipv4"))
            assert [peer.addresses for peer in peers] == [("10.244.0.1",), ("10.244.0.2",)]
        assert proxy.count("AAAA") == 0


@pytest.mark.parametrize("make", [Knot, Bind])
def test_another_cluster_domain(make: Callable[..., Authoritative]) -> None:
    with make(zone="k8s.example.org") as server:
        server.publish(SERVICE, pods_of("web", 2))
        source = DNS([server.nameserver], cluster_domain="k8s.example.org")
        assert resolve(f"{SERVICE}:8080", source=source)[0].fqdn == f"web-0.{SERVICE}.svc.k8s.example.org."
        written = resolve(f"{SERVICE}.svc.k8s.example.org:http", source=DNS([server.nameserver]))
        assert hostnames(written) == ["web-0", "web-1"]
        bare = resolve("web-headless:http", source=DNS([server.nameserver], "prod", "k8s.example.org"))
        assert hostnames(bare) == ["web-0", "web-1"]


def test_a_wildcard_in_a_search_domain_is_not_hit(tmp_path: Path) -> None:
    """Absolute names only: a suffix that answers for everything is never asked."""
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text(
        "nameserver 192.0.2.53\n"
        "search prod.svc.cluster.test svc.cluster.test cluster.test corp.test\n"
        "options ndots:5\n"
    )
    with Bind(zone="test") as server, Proxy(server) as proxy:
        server.update(
            add=[
                dns.rrset.from_text(f"*.{suffix}.test.", 5, "IN", "A", "203.0.113.80")
                for suffix in ("corp", "svc.cluster.test.corp")
            ]
        )
        here = Environment(
            environ={"PEERDISCOVER_NAMESERVERS": proxy.nameserver}, resolv_conf=ResolvConf(resolv_conf)
        )
        for service in "web-headless:8080", f"{SERVICE}:8080", f"{SERVICE}:http":
            with pytest.raises(NameNotFoundError):
                resolve(service, source=DNS(environment=here))
        assert proxy.seen
        assert all(seen.name.endswith(".svc.cluster.test.") for seen in proxy.seen)
        trap = dns.message.make_query(f"{SERVICE}.svc.cluster.test.corp.test.", "A")
        answer = dns.query.udp(trap, server.address, port=server.port, timeout=2)
        assert answer.answer, "the trap is not there"


def test_a_cname_is_followed(server: Authoritative, find: Find) -> None:
    server.publish("db.prod", pods_of("db", 2))
    server.put(SERVICE, [dns.rrset.from_text(NAME, 5, "IN", "CNAME", "db.prod.svc.cluster.local.")])
    assert hostnames(find(f"{SERVICE}:8080")) == ["db-0", "db-1"]


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")
@pytest.mark.parametrize("world", ["threads", "asyncio", "trio"])
def test_a_nameserver_that_speaks_ipv6(world: str) -> None:
    with Knot(address="::1") as server:
        server.publish(SERVICE, pods_of("web", 30))  # over TCP, too
        source = DNS([server.nameserver])
        answer = lookup_in(world, source, f"{SERVICE}:http")
        assert len(answer.endpoints) == 30
        assert answer.servers == (server.nameserver,)


def test_a_name_outside_the_cluster(server: Authoritative, find: Find) -> None:
    server.publish(SERVICE, pods_of("web", 2))
    assert addresses(find(f"{NAME}:8080")) == ["10.244.0.1", "10.244.0.2"]


def test_a_name_that_is_not_there(server: Authoritative, find: Find) -> None:
    server.publish("web-headless.default", pods_of("web", 1))
    with pytest.raises(NameNotFoundError) as caught:
        find(f"{SERVICE}:8080")
    error = caught.value
    assert error.name == NAME
    assert error.servers == (server.nameserver,)
    assert error.outcome is Outcome.NOT_FOUND
    assert "web-headless.default.svc.cluster.local" in str(error)


def test_what_is_no_pods_address_is_dropped_and_said(server: Authoritative) -> None:
    """An address that no pod can have, and a target of another zone: the rest of the answer stands."""
    server.publish(SERVICE, pods_of("web", 2))
    server.update(
        add=[
            dns.rrset.from_text(NAME, 1, "IN", "SRV", "0 50 8080 db.example.com.", f"0 50 8080 zero.{NAME}"),
            dns.rrset.from_text(f"zero.{NAME}", 1, "IN", "A", "0.0.0.0"),
        ]
    )
    answer: Answer = lookup(DNS([server.nameserver]), f"{SERVICE}:8080")
    assert answer.outcome is Outcome.RESOLVED
    assert {*hostnames(answer.endpoints)} == {"web-0", "web-1"}
    said = "\n".join(answer.dropped)
    assert "0.0.0.0" in said
    assert "db.example.com" in said


def test_networks_narrow_what_is_believed(server: Authoritative) -> None:
    server.publish(SERVICE, pods_of("web", 2) + pods_of("odd", 1, first="192.0.2.1"))
    answer = lookup(DNS([server.nameserver], networks=["10.244.0.0/16"]), f"{SERVICE}:8080")
    assert {*hostnames(answer.endpoints)} == {"web-0", "web-1"}
    assert "192.0.2.1" in "\n".join(answer.dropped)
