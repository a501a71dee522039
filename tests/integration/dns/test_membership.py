"""What comes, goes and moves behind a name, and what is only said to: whole stories against real servers."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator

import anyio
import dns.message
import dns.rcode
import dns.rdatatype
import pytest

from peerdiscover import DNS, AsyncDiscovery, Change, Discovery, NoPeersError, Outcome, Peer, resolve
from peerdiscover.testing import HeadlessService
from tests.tools.nameservers import (
    Authoritative,
    Bind,
    Dnsmasq,
    FromElsewhere,
    Knot,
    Meddle,
    Pod,
    Proxy,
    Server,
    Unbound,
    ask,
    pods_of,
)
from tests.waiting import LONG, eventually

from .helpers import SERVICE, addresses, changed_to, entering, hostnames, policy

NAME = f"{SERVICE}.svc.cluster.local."


@pytest.fixture(params=[Knot, Bind])
def server(request: pytest.FixtureRequest) -> Iterator[Authoritative]:
    with request.param() as running:
        yield running


@pytest.fixture
def knot() -> Iterator[Knot]:
    with Knot() as running:
        yield running


def code_for(code: dns.rcode.Rcode, *kinds: str) -> Meddle:
    """Meddles: that code instead of the true answer, for questions of these types (none: of all)."""

    def meddle(question: dns.message.Message, answer: bytes) -> Iterable[bytes]:
        kind = dns.rdatatype.to_text(question.question[0].rdtype)
        if kinds and kind not in kinds:
            return (answer,)
        reply = dns.message.make_response(question)
        reply.set_rcode(code)
        return (reply.to_wire(),)

    return meddle


# Coming


@pytest.mark.parametrize("port", ["8080", "http"])
def test_the_name_is_not_there_for_a_while_at_the_start(server: Authoritative, port: str) -> None:
    web = Discovery(f"{SERVICE}:{port}", source=DNS([server.nameserver]), policy=policy())
    with entering(web):
        eventually(lambda: web.status.lookups >= 10)
        assert web.status.outcome is Outcome.NOT_FOUND
        assert web.status.failures == 0
        server.publish(SERVICE, pods_of("web", 3))
        assert hostnames(changed_to(web, bool)) == ["web-0", "web-1", "web-2"]


@pytest.mark.parametrize("make", [Dnsmasq, Unbound])
def test_a_cache_remembers_that_the_name_was_not_there(knot: Knot, make: type[Dnsmasq | Unbound]) -> None:
    """Negative caching at the start: the pods are seen when the cache forgets, and not much later."""
    with make(knot) as cache:
        web = Discovery(f"{SERVICE}:8080", source=DNS([cache.nameserver]), policy=policy())
        with entering(web):
            eventually(lambda: web.status.lookups >= 2)
            knot.publish(SERVICE, pods_of("web", 3))
            changed_to(web, lambda peers: len(peers) == 3, timeout=5)


def test_the_first_pod_of_all_need_not_wait(server: Authoritative) -> None:
    """With `min_peers=0` "nobody yet" is enough to enter by."""
    alone = policy(min_peers=0)
    with Discovery(f"{SERVICE}:8080", source=DNS([server.nameserver]), policy=alone) as web:
        assert len(web.peers) == 0
        server.publish(SERVICE, pods_of("web", 1))
        assert hostnames(web.wait(1, timeout=LONG)) == ["web-0"]


def test_pods_come_and_go_one_by_one(server: Authoritative) -> None:
    server.publish(SERVICE, pods_of("web", 1))
    seen: list[Change] = []
    lazy = policy(min_refresh=1000, max_refresh=1000)
    with Discovery(f"{SERVICE}:http", source=DNS([server.nameserver]), policy=lazy) as web:
        web.on_change(seen.append)
        for count in 2, 3, 2, 4:
            server.publish(SERVICE, pods_of("web", count))
            assert len(web.refresh()) == count
        eventually(lambda: len(seen) == 4)
        assert [str(change).split("(")[0] for change in seen] == ["+Peer", "+Peer", "-Peer", "+Peer"]
        assert web.status.generation == 5


# Moving


@pytest.mark.parametrize("port", ["8080", "http"])
def test_every_address_is_now_another_ordinals(server: Authoritative, port: str) -> None:
    """A restart of all: each pod has an address that another one had. Nobody came, nobody went."""
    server.publish(SERVICE, pods_of("web", 3))
    lazy = policy(min_refresh=1000, max_refresh=1000)
    with Discovery(f"{SERVICE}:{port}", source=DNS([server.nameserver]), policy=lazy) as web:
        changes = web.changes(timeout=LONG)
        assert len(next(changes).added) == 3
        first = web.ordinal(0)
        server.publish(
            SERVICE,
            [Pod((f"10.244.0.{address}",), f"web-{i}") for i, address in enumerate([2, 3, 1])],
        )
        web.refresh()
        change = next(changes)
        assert (change.added, change.removed) == ((), ())
        assert [(old.key, old.address, new.address) for old, new in change.moved] == [
            ("web-0", "10.244.0.1", "10.244.0.2"),
            ("web-1", "10.244.0.2", "10.244.0.3"),
            ("web-2", "10.244.0.3", "10.244.0.1"),
        ]
        assert web.ordinal(0) != first
        assert web.ordinal(0).address == "10.244.0.2"


def test_addresses_change_hands_while_srv_fails(knot: Knot) -> None:
    """Numeric port, SRV broken: names stay, and a pod that moved is found by its own name."""
    knot.publish(SERVICE, pods_of("web", 3))
    with (
        Proxy(knot) as proxy,
        Discovery(f"{SERVICE}:8080", source=DNS([proxy.nameserver]), policy=policy()) as web,
    ):
        proxy.meddle = code_for(dns.rcode.SERVFAIL, "SRV")
        three = web.peers
        assert web.refresh() is three
        knot.publish(
            SERVICE, [Pod((f"10.244.{net}.{i + 1}",), f"web-{i}") for i, net in enumerate([0, 7, 0])]
        )
        moved = web.refresh()
        assert hostnames(moved) == ["web-0", "web-1", "web-2"]
        assert addresses(moved) == ["10.244.0.1", "10.244.7.2", "10.244.0.3"]
        knot.publish(SERVICE, pods_of("web", 4))
        assert None not in hostnames(web.refresh()), "a pod came in twice, once without its name"
        proxy.be_honest()
        assert len(changed_to(web, lambda peers: len(peers) == 4)) == 4


# Going


def test_three_none_three(server: Authoritative) -> None:
    """Scaled to zero and back: emptied after the hold, and the pods are the same again by name."""
    server.publish(SERVICE, pods_of("web", 3))
    with Discovery(f"{SERVICE}:8080", source=DNS([server.nameserver]), policy=policy(hold=0.5)) as web:
        changes = web.changes(timeout=LONG)
        assert len(next(changes).added) == 3
        picker = web.round_robin()
        server.publish(SERVICE, [])
        held = web.refresh()
        assert len(held) == 3
        assert len(web.status.suspects) == 3
        assert picker.pick() in held
        gone = next(changes)
        assert len(gone.removed) == 3
        assert len(gone.after) == 0
        with pytest.raises(NoPeersError, match=SERVICE):
            picker.pick()
        server.publish(SERVICE, pods_of("web", 3, first="10.244.9.1"))
        back = next(changes)
        assert [peer.key for peer in back.added] == ["web-0", "web-1", "web-2"]
        assert addresses(back.after) == ["10.244.9.1", "10.244.9.2", "10.244.9.3"]
        assert web.status.changes == 3


def test_three_none_three_within_the_hold(server: Authoritative) -> None:
    """Gone for less than the hold: nobody notices."""
    server.publish(SERVICE, pods_of("web", 3))
    with Discovery(f"{SERVICE}:8080", source=DNS([server.nameserver]), policy=policy(hold=60)) as web:
        three = web.peers
        server.publish(SERVICE, [])
        for _ in range(5):
            assert web.refresh() is three
        server.publish(SERVICE, pods_of("web", 3))
        assert web.refresh() is three
        assert web.status.suspects == ()


@pytest.mark.parametrize(("on_empty", "left"), [("keep", 3), ("accept", 0)])
def test_the_other_answers_to_nobody(server: Authoritative, on_empty: str, left: int) -> None:
    server.publish(SERVICE, pods_of("web", 3))
    terms = policy(on_empty=on_empty, hold=0.05)
    with Discovery(f"{SERVICE}:8080", source=DNS([server.nameserver]), policy=terms) as web:
        server.publish(SERVICE, [])
        for _ in range(3):
            assert len(web.refresh()) == left


def test_most_of_a_set_goes_when_answers_one_ttl_apart_agree(server: Authoritative) -> None:
    """Ten pods become three: not at once, and not after the whole hold."""
    server.publish(SERVICE, pods_of("web", 10))
    terms = policy(hold=1000)
    with Discovery(f"{SERVICE}:8080", source=DNS([server.nameserver]), policy=terms) as web:
        server.publish(SERVICE, pods_of("web", 3))
        assert len(web.refresh()) == 10
        assert len(web.status.suspects) == 7
        assert {web.round_robin().pick().ordinal for _ in range(20)} <= set(range(10))
        assert hostnames(changed_to(web, lambda peers: len(peers) < 10)) == ["web-0", "web-1", "web-2"]


def test_a_suspect_that_fails_goes_at_once(server: Authoritative) -> None:
    server.publish(SERVICE, pods_of("web", 3))
    with Discovery(f"{SERVICE}:8080", source=DNS([server.nameserver]), policy=policy(hold=1000)) as web:
        server.publish(SERVICE, [])
        web.refresh()
        lost = web.ordinal(1)
        web.report_failure(lost, ConnectionRefusedError())
        assert hostnames(web.peers) == ["web-0", "web-2"]


# Lies


@pytest.mark.parametrize("port", ["8080", "http"])
def test_one_not_found_among_good_answers(server: Authoritative, port: str) -> None:
    """One answer in six says that the name is not there (coredns #6518): no change, ever."""
    server.publish(SERVICE, pods_of("web", 3))
    turn = itertools.count(1)
    not_found = code_for(dns.rcode.NXDOMAIN)

    def meddle(question: dns.message.Message, answer: bytes) -> Iterable[bytes | FromElsewhere]:
        return not_found(question, answer) if next(turn) % 6 == 0 else (answer,)

    with Proxy(server, meddle=meddle) as proxy:
        with Discovery(f"{SERVICE}:{port}", source=DNS([proxy.nameserver]), policy=policy(hold=60)) as web:
            three = web.peers
            for _ in range(60):
                assert web.refresh() is three
            assert next(turn) > 60
        for _ in range(12):
            assert len(resolve(f"{SERVICE}:{port}", source=DNS([proxy.nameserver]))) == 3


@pytest.mark.parametrize("make", [Dnsmasq, Unbound])
def test_a_cache_says_not_found_for_a_while(make: type[Dnsmasq | Unbound]) -> None:
    """A wrong "not found" that a cache goes on giving until its TTL is over. The set stays, and is told."""
    with Knot(negative_ttl=2) as knot, make(knot) as cache:
        knot.publish(SERVICE, pods_of("web", 3), ttl=60)
        source = DNS([cache.nameserver])
        with Discovery(f"{SERVICE}:http", source=source, policy=policy(hold=60)) as web:
            three = web.peers
            knot.publish(SERVICE, [])
            cache.restart()
            eventually(lambda: web.status.outcome is Outcome.NOT_FOUND)
            knot.publish(SERVICE, pods_of("web", 3), ttl=60)
            assert len(web.status.suspects) == 3
            assert web.status.stale
            eventually(lambda: web.status.outcome is Outcome.RESOLVED)
            assert web.peers is three
            assert not web.status.suspects


@pytest.mark.parametrize("make", [Dnsmasq, Unbound])
def test_a_cache_knows_one_of_six_for_a_while(knot: Knot, make: type[Dnsmasq | Unbound]) -> None:
    """A wrong and complete answer, out of a cache for a whole TTL: asking the cache again proves nothing.

    Caches count whole seconds and go on giving it, at TTL 0, for up to a second more.
    """
    knot.publish(SERVICE, pods_of("web", 6))
    terms = policy(hold=60, max_refresh=30)
    with (
        make(knot, min_ttl=2) as cache,
        Discovery(f"{SERVICE}:http", source=DNS([cache.nameserver]), policy=terms) as web,
    ):
        six = web.peers
        knot.publish(SERVICE, pods_of("web", 1))
        cache.restart()
        assert web.refresh() is six
        assert len(web.status.suspects) == 5
        knot.publish(SERVICE, pods_of("web", 6))
        for _ in range(5):
            assert web.refresh() is six
        eventually(lambda: not web.status.suspects)
        assert web.peers is six, web.explain()


def test_two_servers_that_disagree_about_everything() -> None:
    """Each answer has other pods than the one before: after two rounds the set holds both for good."""
    with Bind() as one, Bind() as other, Proxy(one, other) as proxy:
        one.publish(SERVICE, pods_of("web", 4))
        other.publish(SERVICE, pods_of("web", 4, start=4, first="10.244.1.1"))
        with Discovery(f"{SERVICE}:http", source=DNS([proxy.nameserver]), policy=policy(hold=60)) as web:
            for _ in range(12):
                web.refresh()
            settled = web.peers
            for _ in range(30):
                web.refresh()
            assert web.peers is settled
            assert len(settled) == 8


def test_two_servers_that_disagree_about_one_pod() -> None:
    """It comes and goes with each answer, at the pace of the TTL: no question comes sooner for it."""
    with Bind() as one, Bind() as other, Proxy(one, other) as proxy:
        one.publish(SERVICE, pods_of("web", 3))
        other.publish(SERVICE, pods_of("web", 4))
        terms = policy(max_refresh=30)
        began = time.monotonic()
        with Discovery(f"{SERVICE}:http", source=DNS([proxy.nameserver]), policy=terms) as web:
            eventually(lambda: web.status.changes >= 3)
            assert web.status.lookups <= 2 + (time.monotonic() - began) / 1.0
            assert web.status.suspects == ()


def test_one_of_two_servers_lost_the_name() -> None:
    """The first nameserver says "not found", the second one has the pods: a second opinion asks it."""
    with Bind() as one, Bind() as other:
        for each in one, other:
            each.publish(SERVICE, pods_of("web", 3))
        source = DNS([one.nameserver, other.nameserver])
        with Discovery(f"{SERVICE}:http", source=source, policy=policy(hold=0.3)) as web:
            three = web.peers
            one.publish(SERVICE, [])
            lookups = web.status.lookups
            eventually(lambda: web.status.lookups > lookups + 20)
            assert web.peers is three
        assert len(resolve(f"{SERVICE}:http", source=source)) == 3


def test_two_caches_of_different_age(knot: Knot) -> None:
    """An old and a new answer take turns until the old one has run out: a change or two, no storm."""
    knot.publish(SERVICE, pods_of("web", 3), ttl=3)
    with Unbound(knot) as old, Unbound(knot) as new:
        for kind in "SRV", "A", "AAAA":  # the old one knows three for three seconds
            ask(old, NAME, kind)
        knot.publish(SERVICE, pods_of("web", 4), ttl=3)
        with Proxy(old, new) as proxy:
            seen: list[Change] = []
            terms = policy(min_refresh=0.2, max_refresh=30, hold=60)
            with Discovery(f"{SERVICE}:8080", source=DNS([proxy.nameserver]), policy=terms) as web:
                web.on_change(seen.append)
                eventually(lambda: web.status.age < 1 and "web-3" in hostnames(web.peers) and settled(old))
                for _ in range(4):
                    assert len(web.refresh()) == 4
            assert len(seen) <= 4


def settled(cache: Server) -> bool:
    """Whether the cache knows of the fourth pod."""
    return len(ask(cache, NAME, "A").answer[0]) == 4


# Families, judged apart


@pytest.mark.parametrize(("hostname", "port"), [("web", "http"), (None, "8080")])
@pytest.mark.parametrize("family", ["A", "AAAA"])
def test_one_family_fails(knot: Knot, family: str, hostname: str | None, port: str) -> None:
    """The failed family's addresses stay; the other's are judged by its answer."""
    knot.publish(SERVICE, pods_of(hostname, 3, and_first="fd00:10:244::1"))
    # unbound sends no addresses along: they have to be asked for
    with (
        Unbound(knot) as cache,
        Proxy(cache) as proxy,
        Discovery(f"{SERVICE}:{port}", source=DNS([proxy.nameserver]), policy=policy(hold=60)) as web,
    ):
        three = web.peers
        assert len(three) == 3
        proxy.meddle = code_for(dns.rcode.SERVFAIL, family)
        for _ in range(3):
            assert web.refresh() is three
        knot.publish(SERVICE, pods_of(hostname, 4, and_first="fd00:10:244::1"))
        proxy.be_honest()
        assert len(changed_to(web, lambda peers: len(peers) == 4)) == 4


# A pod's own name


def nobody_called(label: str) -> Meddle:
    """Meddles: NXDOMAIN for the own name of one pod."""
    not_found = code_for(dns.rcode.NXDOMAIN)

    def meddle(question: dns.message.Message, answer: bytes) -> Iterable[bytes | FromElsewhere]:
        asked = question.question[0].name
        return not_found(question, answer) if asked.labels[0] == label.encode() else (answer,)

    return meddle


def test_one_wrong_answer_for_a_pods_own_name_removes_nobody(knot: Knot) -> None:
    """SRV lists the pod, its own name is not there: one against the other, until a second answer agrees."""
    three = pods_of("web", 3)
    knot.publish(SERVICE, three)
    with (
        Unbound(knot) as cache,  # no addresses come along: each pod is asked for by its own name
        Proxy(cache) as proxy,
        Discovery(f"{SERVICE}:http", source=DNS([proxy.nameserver]), policy=policy(hold=60)) as web,
    ):
        assert web.status.suspects == ()
        proxy.meddle = nobody_called("web-2")
        for _ in range(3):
            web.refresh()
            assert hostnames(web.peers) == ["web-0", "web-1", "web-2"]
            assert hostnames(web.status.suspects) == ["web-2"]
        proxy.be_honest()
        web.refresh()
        assert web.status.suspects == ()
        assert web.peers.generation == 1


# Caches that serve what is old


def test_a_cache_that_serves_expired_answers(knot: Knot) -> None:
    """The authority is gone, the cache goes on: no failure, no change."""
    knot.publish(SERVICE, pods_of("web", 3))
    with (
        Unbound(knot, serve_expired=True) as cache,
        Discovery(f"{SERVICE}:8080", source=DNS([cache.nameserver]), policy=policy()) as web,
    ):
        three = web.peers
        knot.kill()
        lookups = web.status.lookups
        eventually(lambda: web.status.lookups > lookups + 10)
        assert web.peers is three
        assert web.status.outcome is Outcome.RESOLVED


def test_a_ttl_of_zero_is_no_advice() -> None:
    """`serve_stale` gives TTL 0: counted as 5 s, never a busy loop."""
    with HeadlessService(SERVICE, 3, {"http": 8080}, pods=False) as svc:
        svc.answer("stale")
        terms = policy(min_refresh=0.05, max_refresh=30)
        with Discovery(f"{SERVICE}:8080", source=svc.source, policy=terms) as web:
            assert 4 < web.status.next_refresh <= 5


# The twin


@pytest.mark.anyio
async def test_the_same_stories_awaited(knot: Knot) -> None:
    knot.publish(SERVICE, pods_of("web", 3))
    with anyio.fail_after(LONG):
        source = DNS([knot.nameserver])
        async with AsyncDiscovery(f"{SERVICE}:http", source=source, policy=policy(hold=0.5)) as web:
            changes = web.changes()
            assert len((await anext(changes)).added) == 3
            knot.publish(SERVICE, pods_of("web", 5))
            assert [peer.key for peer in (await anext(changes)).added] == ["web-3", "web-4"]
            knot.publish(SERVICE, pods_of("web", 5, first="10.244.5.1"))
            assert len((await anext(changes)).moved) == 5
            knot.publish(SERVICE, [])
            gone: tuple[Peer, ...] = (await anext(changes)).removed
            assert len(gone) == 5
            knot.publish(SERVICE, pods_of("web", 2))
            assert len((await anext(changes)).added) == 2
