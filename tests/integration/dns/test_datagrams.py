"""Datagrams that are not the answer come before the one that is: they are ignored, and the wait goes on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.rrset
import pytest

from peerdiscover import DNS, Answer, Outcome
from tests.tools.nameservers import FromElsewhere, Knot, Proxy, pods_of

from .helpers import SERVICE, hostnames, lookup, lookup_in

Wrong = Callable[[dns.message.Message, bytes], bytes | FromElsewhere]


def forged(question: dns.message.Message) -> dns.message.Message:
    """An answer that puts somebody else in the pods' place."""
    reply = dns.message.make_response(question)
    asked = question.question[0]
    texts = {"A": "203.0.113.66", "AAAA": "2001:db8::66", "SRV": f"0 50 8080 evil-0.{asked.name}"}
    kind = dns.rdatatype.to_text(asked.rdtype)
    reply.answer.append(dns.rrset.from_text(asked.name, 5, "IN", kind, texts[kind]))
    return reply


def junk(question: dns.message.Message, answer: bytes) -> bytes:
    return os.urandom(40)


def empty(question: dns.message.Message, answer: bytes) -> bytes:
    return b""


def wrong_id(question: dns.message.Message, answer: bytes) -> bytes:
    reply = forged(question)
    reply.id ^= 1
    return reply.to_wire()


def wrong_name(question: dns.message.Message, answer: bytes) -> bytes:
    reply = forged(question)
    asked = reply.question[0]
    other = dns.name.from_text("other.prod.svc.cluster.local.")
    reply.question[0] = dns.rrset.RRset(other, asked.rdclass, asked.rdtype)
    return reply.to_wire()


def wrong_type(question: dns.message.Message, answer: bytes) -> bytes:
    reply = forged(question)
    asked = reply.question[0]
    reply.question[0] = dns.rrset.RRset(asked.name, asked.rdclass, dns.rdatatype.TXT)
    return reply.to_wire()


def wrong_source(question: dns.message.Message, answer: bytes) -> FromElsewhere:
    return FromElsewhere(forged(question).to_wire())


def a_question(question: dns.message.Message, answer: bytes) -> bytes:
    return question.to_wire()


def broken_inside(question: dns.message.Message, answer: bytes) -> bytes:
    """The right id and the right question, and then nonsense."""
    return answer[: len(question.to_wire()) - 11] + b"\xff" * 12


WRONG: list[Wrong] = [junk, empty, wrong_id, wrong_name, wrong_type, wrong_source, a_question, broken_inside]


def look(world: str, source: DNS, timeout: float = 3.0) -> Answer:
    return lookup_in(world, source, f"{SERVICE}:8080", timeout=timeout)


@pytest.mark.parametrize("world", ["threads", "asyncio", "trio"])
@pytest.mark.parametrize("wrong", WRONG)
def test_the_true_datagram_counts(world: str, wrong: Wrong) -> None:
    def meddle(question: dns.message.Message, answer: bytes) -> Iterable[bytes | FromElsewhere]:
        yield wrong(question, answer)
        yield answer

    with Knot() as server, Proxy(server, meddle=meddle) as proxy:
        server.publish(SERVICE, pods_of("web", 3))
        answer = look(world, DNS([proxy.nameserver]))
        assert answer.outcome is Outcome.RESOLVED
        assert hostnames(answer.endpoints) == ["web-0", "web-1", "web-2"]
        assert proxy.count("SRV") == 1, "the first datagram ended the wait"


@pytest.mark.parametrize("world", ["threads", "asyncio", "trio"])
@pytest.mark.parametrize("wrong", WRONG)
def test_nothing_but_wrong_ones_is_a_failure(world: str, wrong: Wrong) -> None:
    def meddle(question: dns.message.Message, answer: bytes) -> Iterable[bytes | FromElsewhere]:
        yield wrong(question, answer)

    with Knot() as server, Proxy(server, tcp="refuse", meddle=meddle) as proxy:
        server.publish(SERVICE, pods_of("web", 3))
        answer = look(world, DNS([proxy.nameserver]), timeout=0.4)
        assert answer.outcome is Outcome.FAILED
        assert proxy.nameserver in str(answer.error)


def test_an_answer_that_comes_twice_does_no_harm() -> None:
    with Knot() as server, Proxy(server, meddle=lambda question, answer: (answer, answer)) as proxy:
        server.publish(SERVICE, pods_of("web", 2))
        source = DNS([proxy.nameserver])
        for _ in range(5):
            assert hostnames(lookup(source, f"{SERVICE}:8080").endpoints) == ["web-0", "web-1"]


def test_letters_may_come_back_in_another_case() -> None:
    """Names are compared without regard to case (RFC 4343)."""

    def shout(question: dns.message.Message, answer: bytes) -> Iterable[bytes]:
        return (answer.replace(b"web-headless", b"WEB-Headless").replace(b"cluster", b"CLUSTER"),)

    with Knot() as server, Proxy(server, meddle=shout) as proxy:
        server.publish(SERVICE, pods_of("web", 2))
        for service in f"{SERVICE}:8080", f"{SERVICE}:http":
            answer = lookup(DNS([proxy.nameserver]), service)
            assert hostnames(answer.endpoints) == ["web-0", "web-1"]


def test_a_datagram_that_is_lost_is_asked_for_again() -> None:
    lost = 0

    def lose_the_first(question: dns.message.Message, answer: bytes) -> Iterable[bytes]:
        nonlocal lost
        lost += 1
        return () if lost == 1 else (answer,)

    with Knot() as server, Proxy(server, meddle=lose_the_first) as proxy:
        server.publish(SERVICE, pods_of("web", 2))
        answer = lookup(DNS([proxy.nameserver]), f"{SERVICE}:8080", timeout=5)
        assert hostnames(answer.endpoints) == ["web-0", "web-1"]
        assert proxy.count("SRV") == 2
