"""The sizes at which an answer is cut: what arrives whole, over what, and what does not.

With a name of usual length: 28 addresses in 512 bytes, 73 in the 1232 that we ask for, 4,092 over
TCP; 720 SRV records with their addresses over TCP. The last two are asked of the embedded server,
since BIND and Knot answer otherwise there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import dns.message
import dns.rcode
import pytest

from peerdiscover import DNS, Discovery, Outcome
from peerdiscover.sources.dns import _exchange
from peerdiscover.testing import HeadlessService
from tests.tools.nameservers import At, Authoritative, Bind, FromElsewhere, Knot, Proxy, pods_of
from tests.waiting import LONG

from .helpers import SERVICE, changed_to, hostnames, lookup, policy


def only_addresses(server: Authoritative, count: int) -> None:
    """`count` A records behind the name, and no SRV: as behind a server that does not know the bare one."""
    server.publish(SERVICE, pods_of(None, count), ports={})


def without_edns(question: dns.message.Message, answer: bytes) -> Iterable[bytes | FromElsewhere]:
    """A server older than EDNS: it calls such a question malformed (RFC 6891, 7)."""
    if question.edns < 0:
        return (answer,)
    reply = dns.message.make_response(question)
    reply.use_edns(False)
    reply.set_rcode(dns.rcode.FORMERR)
    return (reply.to_wire(),)


@pytest.mark.parametrize("make", [Knot, Bind])
@pytest.mark.parametrize(("count", "connections"), [(28, 0), (29, 1)])
def test_without_edns(make: type[Authoritative], count: int, connections: int) -> None:
    with make() as server, Proxy(server, meddle=without_edns) as proxy:
        only_addresses(server, count)
        answer = lookup(DNS([proxy.nameserver]), f"{SERVICE}:8080")
        assert answer.outcome is Outcome.RESOLVED
        assert len(answer.endpoints) == count
        assert proxy.count("A", "tcp") == connections


@pytest.mark.parametrize("make", [Knot, Bind])
@pytest.mark.parametrize(("count", "connections"), [(73, 0), (74, 1)])
def test_with_1232_bytes(make: type[Authoritative], count: int, connections: int) -> None:
    with make() as server, Proxy(server) as proxy:
        only_addresses(server, count)
        answer = lookup(DNS([proxy.nameserver]), f"{SERVICE}:8080")
        assert answer.outcome is Outcome.RESOLVED
        assert len(answer.endpoints) == count
        assert proxy.count("A", "tcp") == connections


@pytest.mark.parametrize("service", [f"{SERVICE}:8080", f"{SERVICE}:http"])
def test_three_hundred_pods_keep_their_hostnames(service: str) -> None:
    """SRV with addresses goes over TCP from about 15 pods on, and is whole there."""
    with Knot() as server:
        server.publish(SERVICE, pods_of("web", 300))
        answer = lookup(DNS([server.nameserver]), service)
        assert answer.outcome is Outcome.RESOLVED
        assert {*hostnames(answer.endpoints)} == {f"web-{i}" for i in range(300)}


@pytest.mark.parametrize("count", [13, 14, 16])
def test_addresses_that_do_not_come_along_are_asked_for(count: int) -> None:
    """BIND sends no address along with more than 13 SRV records."""
    with Bind() as server:
        server.publish(SERVICE, pods_of("web", count))
        for service in f"{SERVICE}:8080", f"{SERVICE}:http":
            answer = lookup(DNS([server.nameserver]), service)
            assert answer.outcome is Outcome.RESOLVED
            assert {*hostnames(answer.endpoints)} == {f"web-{i}" for i in range(count)}


def test_a_large_set_whose_addresses_do_not_come_along_grows_with_each_lookup() -> None:
    """A named port behind BIND: each pod is asked for by its own name, those that nobody knows yet first."""
    with (
        Bind() as server,
        Discovery(f"{SERVICE}:http", source=_published(server, 40), policy=policy(timeout=5)) as web,
    ):
        everybody = changed_to(web, lambda peers: len(peers) == 40)
        assert [peer.ordinal for peer in everybody] == list(range(40))
        for _ in range(3):
            assert web.refresh() == everybody
            assert web.peers.generation == everybody.generation


def _published(server: Authoritative, count: int) -> DNS:
    server.publish(SERVICE, pods_of("web", count))
    return DNS([server.nameserver])


@pytest.mark.parametrize(("count", "outcome"), [(4092, Outcome.RESOLVED), (4093, Outcome.PARTIAL)])
def test_addresses_over_tcp(count: int, outcome: Outcome) -> None:
    """What fits depends on the name's length, here by one: `web-headless` would be too long."""
    with HeadlessService("web-peers.prod", count, {"http": 8080}, hostnames=False, pods=False) as svc:
        answer = lookup(svc.source, "web-peers.prod:8080")
        assert answer.outcome is outcome
        assert len(answer.endpoints) == 4092


def test_720_services_fit_and_721_do_not_over_tcp() -> None:
    """With names of this length. A named port: SRV alone can tell it, so an answer that is cut is partial.

    Where the records begin changes from answer to answer, and by it whether the 721st still fits.
    """
    named, numeric = "web-headless.production:http", "web-headless.production:8080"
    with HeadlessService("web-headless.production", 720, {"http": 8080}, start=460, pods=False) as svc:
        for _ in range(3):
            answer = lookup(svc.source, named)
            assert (answer.outcome, len(answer.endpoints)) == (Outcome.RESOLVED, 720)
        svc.scale(721)
        outcomes = set[Outcome]()
        for _ in range(40):
            answer = lookup(svc.source, named)
            outcomes.add(answer.outcome)
            if answer.outcome is Outcome.PARTIAL:
                assert 700 < len(answer.endpoints) <= 721
                break
        assert Outcome.PARTIAL in outcomes
        whole = lookup(svc.source, numeric)
        assert (whole.outcome, len(whole.endpoints)) == (Outcome.RESOLVED, 721)


def test_a_set_larger_than_any_answer_is_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    """5,000 pods, 4,092 at random in each answer: the union is whole, and nobody flaps out of it."""
    # A busy machine takes long to make an answer of 64 kB; without it the datagram of 73 would count.
    monkeypatch.setattr(_exchange, "TCP_TIMEOUT", LONG)
    lazy = policy(min_refresh=1000, max_refresh=1000, timeout=LONG)
    with (
        HeadlessService(SERVICE, 5000, {"http": 8080}, hostnames=False, pods=False) as svc,
        Discovery(f"{SERVICE}:8080", source=svc.source, policy=lazy) as web,
    ):
        sizes = [len(web.peers)]
        while len(web.peers) < 5000 and len(sizes) < 20:
            sizes.append(len(web.refresh()))
        assert sizes == sorted(sizes)
        assert sizes[-1] == 5000
        everybody = web.peers
        for _ in range(3):
            assert web.refresh() == everybody
            assert web.peers.generation == everybody.generation


@pytest.fixture
def eighty() -> Iterator[HeadlessService]:
    with HeadlessService(SERVICE, 80, {"http": 8080}, hostnames=False, pods=False) as svc:
        yield svc


@pytest.mark.parametrize("tcp", ["refuse", "drop"])
def test_eighty_pods_and_no_tcp(eighty: HeadlessService, tcp: Literal["refuse", "drop"]) -> None:
    """TCP/53 blocked: sets work up to about 70 pods, and must not die at 80."""
    with Proxy(At.parse(eighty.nameserver), tcp=tcp) as proxy:
        source = DNS([proxy.nameserver])
        answer = lookup(source, f"{SERVICE}:8080")
        assert answer.outcome is Outcome.PARTIAL
        assert len(answer.endpoints) == 73
        assert "open TCP port 53" in "\n".join(answer.warnings)
        with Discovery(f"{SERVICE}:8080", source=source, policy=policy(timeout=5)) as web:
            everybody = changed_to(web, lambda peers: len(peers) == 80)
            assert web.refresh() == everybody
            assert web.peers.generation == everybody.generation


@pytest.mark.parametrize("port", ["8080", "http"])
def test_eighty_pods_with_hostnames_and_no_tcp(port: str) -> None:
    """SRV over UDP holds a few of eighty: nobody who came in goes, and nobody stands twice."""
    with (
        HeadlessService(SERVICE, 80, {"http": 8080}, pods=False) as svc,
        Proxy(At.parse(svc.nameserver), tcp="refuse") as proxy,
        Discovery(f"{SERVICE}:{port}", source=DNS([proxy.nameserver]), policy=policy(timeout=5)) as web,
    ):
        assert web.status.outcome is Outcome.PARTIAL
        sizes = [len(web.peers)] + [len(web.refresh()) for _ in range(5)]
        assert sizes[0] >= 10
        assert sizes == sorted(sizes)
        used = [peer.address for peer in web.peers]
        assert len(used) == len(set(used))


@pytest.mark.parametrize("make", [Knot, Bind])
@pytest.mark.parametrize("port", ["8080", "http"])
def test_servers_that_cut_everything_off(make: type[Authoritative], port: str) -> None:
    """BIND, Knot, dnsmasq and unbound put no record at all into a UDP answer that is cut.

    Without TCP that is a failure, or what little the pods' own names tell. It removes nobody, and
    says what to open.
    """
    with make() as server, Proxy(server, tcp="refuse") as proxy:
        server.publish(SERVICE, pods_of("web", 3))
        with Discovery(f"{SERVICE}:{port}", source=DNS([proxy.nameserver]), policy=policy()) as web:
            three = web.peers
            server.publish(SERVICE, pods_of("web", 80))
            for _ in range(3):
                assert web.refresh() is three
                assert web.status.outcome in (Outcome.FAILED, Outcome.PARTIAL)
            assert "open TCP port 53" in web.explain()
            server.publish(SERVICE, pods_of("web", 3))
            assert web.refresh() is three
            assert web.status.outcome is Outcome.RESOLVED
