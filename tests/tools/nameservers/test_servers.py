"""The servers of the tests do what the tests rely on."""

from __future__ import annotations

import socket
from collections.abc import Callable

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import pytest

from tests.waiting import LONG

from . import Authoritative, Bind, Dnsmasq, Knot, Proxy, Server, Unbound, ask, pods_of

NAME = "web.prod.svc.cluster.local."


def addresses(server: Server, name: str = NAME) -> list[str]:
    answer = ask(server, name)
    return sorted(str(rdata) for rrset in answer.answer if rrset.rdtype == dns.rdatatype.A for rdata in rrset)


@pytest.mark.parametrize("make", [Knot, Bind])
def test_records_change_under_the_client(make: Callable[[], Authoritative]) -> None:
    with make() as server:
        server.publish("web.prod", pods_of("web", 3))
        assert addresses(server) == ["10.244.0.1", "10.244.0.2", "10.244.0.3"]
        assert addresses(server, f"web-2.{NAME}") == ["10.244.0.3"]
        for name in NAME, f"_http._tcp.{NAME}":
            srv = ask(server, name, "SRV", tcp=False)
            assert len(srv.answer[0]) == 3
            assert len(srv.additional) == 3
        server.publish("web.prod", pods_of("web", 1, first="10.244.7.1"))
        assert addresses(server) == ["10.244.7.1"]
        assert ask(server, f"web-2.{NAME}").rcode() == dns.rcode.NXDOMAIN
        server.restart()
        assert addresses(server) == ["10.244.7.1"]
        server.publish("web.prod", [])
        assert ask(server, NAME).rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize("make", [Knot, Bind])
def test_an_authority_refuses_and_fails(make: Callable[[], Authoritative]) -> None:
    with make() as server:
        server.publish("web.prod", pods_of("web", 1))
        server.turn("refuse")
        assert ask(server, NAME).rcode() == dns.rcode.REFUSED
        server.turn("servfail")
        assert ask(server, NAME).rcode() == dns.rcode.SERVFAIL
        server.turn("serve")
        assert addresses(server) == ["10.244.0.1"]


def test_a_paused_server_is_silent_and_a_killed_one_is_gone() -> None:
    with Knot() as server:
        server.pause()
        with pytest.raises(dns.exception.Timeout):
            ask(server, NAME, timeout=0.05)
        server.resume()
        assert ask(server, NAME).rcode() == dns.rcode.NXDOMAIN
        server.kill()
        with pytest.raises(ConnectionRefusedError):
            ask(server, NAME)
        server.start()
        assert ask(server, NAME).rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize("make", [Dnsmasq, Unbound])
def test_a_cache_goes_on_with_what_it_knows(make: Callable[[Server], Server]) -> None:
    with Knot() as authority, make(authority) as cache:
        authority.publish("web.prod", pods_of("web", 2), ttl=60)
        assert len(addresses(cache)) == 2
        authority.publish("web.prod", pods_of("web", 3), ttl=60)
        assert len(addresses(cache)) == 2
        cache.restart()
        assert len(addresses(cache)) == 3


def test_a_proxy_takes_turns_and_blocks_tcp() -> None:
    with Bind() as one, Bind() as other:
        one.publish("web.prod", pods_of("web", 1))
        other.publish("web.prod", pods_of("web", 2))
        with Proxy(one, other) as proxy:
            question = dns.message.make_query(NAME, "A")
            for count in 1, 2, 1:
                answer = dns.query.udp(question, proxy.address, port=proxy.port, timeout=LONG)
                assert len(answer.answer[0]) == count
            assert len(dns.query.tcp(question, proxy.address, port=proxy.port, timeout=LONG).answer[0]) == 2
            assert proxy.count("A") == 4
            assert proxy.count("A", "tcp") == 1
        with Proxy(one, tcp="refuse") as proxy, pytest.raises(ConnectionRefusedError):
            socket.create_connection((proxy.address, proxy.port), timeout=LONG)
        with Proxy(one, tcp="drop") as proxy, pytest.raises(TimeoutError):
            socket.create_connection((proxy.address, proxy.port), timeout=0.2)


@pytest.mark.parametrize(
    ("count", "edns", "cut"), [(28, None, False), (29, None, True), (73, 1232, False), (74, 1232, True)]
)
def test_the_sizes_at_which_an_answer_is_cut(count: int, edns: int | None, cut: bool) -> None:
    """A name of usual length: 512 bytes hold 28 addresses, 1232 bytes 73."""
    with Knot() as server:
        server.publish("web-headless.prod", pods_of("web", count))
        name = server.absolute("web-headless.prod")
        question = dns.message.make_query(name, "A", use_edns=False if edns is None else 0, payload=edns or 0)
        answer = dns.query.udp(question, server.address, port=server.port, timeout=LONG, ignore_trailing=True)
        assert bool(answer.flags & dns.flags.TC) is cut
