"""The bytes: whatever comes in, and whatever goes out, as another reader of DNS messages sees it."""

from __future__ import annotations

import random
import struct

import dns.flags
import dns.message
import dns.rdatatype
from hypothesis import given
from hypothesis import strategies as st

from peerdiscover.testing import Nameserver, Service, ServiceEndpoint, ServicePort, Transport, Zone

LABEL = st.from_regex(r"[a-z]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)


def zone_with(count: int, name: str = "web", namespace: str = "prod", hostname: str = "web") -> Zone:
    endpoints = tuple(
        ServiceEndpoint(
            f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}", (ServicePort(8080, "http"),), f"{hostname}-{i}"
        )
        for i in range(count)
    )
    return Zone().with_service(Service(name, namespace, (endpoints,)))


def query(name: str, kind: str, edns: int | None) -> bytes:
    message = dns.message.make_query(name, kind)
    if edns is not None:
        message.use_edns(0, 0, edns)
    return message.to_wire()


@given(st.binary(max_size=600), st.sampled_from(["udp", "tcp"]))
def test_junk_is_answered_or_not_and_never_raises(data: bytes, transport: Transport) -> None:
    answer = Nameserver(zone_with(2)).respond(data, transport=transport)
    assert answer is None or answer[:2] == data[:2]


@given(st.data())
def test_questions_with_a_byte_changed(data: st.DataObject) -> None:
    whole = bytearray(query("_http._tcp.web.prod.svc.cluster.local.", "SRV", 1232))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] = data.draw(st.integers(0, 255))
    answer = Nameserver(zone_with(2)).respond(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    assert answer is None or answer[:2] == whole[:2]


@given(
    count=st.integers(1, 120),
    service=LABEL,
    hostname=LABEL,
    kind=st.sampled_from(["A", "SRV"]),
    edns=st.none() | st.integers(0, 5000),
    tcp=st.booleans(),
    seed=st.integers(0, 9),
)
def test_what_fits_is_there_and_what_does_not_is_said(
    count: int, service: str, hostname: str, kind: str, edns: int | None, tcp: bool, seed: int
) -> None:
    nameserver = Nameserver(zone_with(count, service, "prod", hostname), rng=random.Random(seed))
    name = f"{service}.prod.svc.cluster.local."
    answer = nameserver.respond(query(name, kind, edns), transport="tcp" if tcp else "udp")
    assert answer is not None
    limit = 65535 if tcp else max(512, edns or 0)
    assert len(answer) <= limit
    message = dns.message.from_wire(answer, one_rr_per_rrset=True, raise_on_truncation=False)
    found = {(rrset.rdtype, next(iter(rrset)).to_text()) for rrset in message.answer}
    assert len(found) == len(message.answer)
    glue = {rrset.name.to_text(): next(iter(rrset)).to_text() for rrset in message.additional}
    whole = len(found) == count and (kind == "A" or len(glue) == count)
    assert bool(message.flags & dns.flags.TC) == (not whole)
    for target, address in glue.items():
        i = int(target.split(".")[0].rpartition("-")[2])
        assert address == f"10.{i >> 16}.{i >> 8 & 255}.{i & 255}"
    if not whole:  # one more would not have fitted: no record takes more than this
        longest = 2 + 10 + 6 + len(hostname) + 5 + len(name) + 1
        assert len(answer) + longest > limit


def test_pointers_reach_no_further_than_they_can() -> None:
    answer = Nameserver(zone_with(700, "a-long-name-for-a-service")).respond(
        query("_http._tcp.a-long-name-for-a-service.prod.svc.cluster.local.", "SRV", None), transport="tcp"
    )
    assert answer is not None
    assert len(answer) > 1 << 15
    message = dns.message.from_wire(answer, one_rr_per_rrset=True)
    targets = {next(iter(rrset)).target.to_text() for rrset in message.answer}
    assert targets >= {rrset.name.to_text() for rrset in message.additional}
    assert len(targets) == 700


def test_the_order_is_chance_for_addresses_only() -> None:
    nameserver = Nameserver(zone_with(30), rng=random.Random(1))
    orders: dict[str, set[tuple[str, ...]]] = {"A": set(), "SRV": set()}
    for kind, seen in orders.items():
        for _ in range(20):
            answer = nameserver.respond(query("web.prod.svc.cluster.local.", kind, None), transport="tcp")
            assert answer is not None
            message = dns.message.from_wire(answer, one_rr_per_rrset=True)
            seen.add(tuple(next(iter(rrset)).to_text() for rrset in message.answer))
    assert len(orders["A"]) == 20
    assert len(orders["SRV"]) == 1


def test_slices_come_in_turn() -> None:
    ports = (ServicePort(8080, "http"),)
    slices = tuple(
        tuple(ServiceEndpoint(f"10.0.{s}.{i}", ports, f"web-{s * 10 + i}") for i in range(10))
        for s in range(3)
    )
    zone = Zone().with_service(Service("web", "prod", slices))
    plain = query("web.prod.svc.cluster.local.", "SRV", None)
    firsts: dict[bool, set[int]] = {True: set(), False: set()}
    for shuffle, seen in firsts.items():
        nameserver = Nameserver(zone, shuffle=shuffle, rng=random.Random(1))
        for _ in range(40):
            answer = nameserver.respond(plain, transport="tcp")
            assert answer is not None
            message = dns.message.from_wire(answer, one_rr_per_rrset=True)
            numbers = [int(next(iter(rrset)).target.to_text().split(".")[0][4:]) for rrset in message.answer]
            assert numbers == [(numbers[0] + i) % 30 for i in range(30)]
            seen.add(numbers[0])
    assert firsts == {True: {0, 10, 20}, False: {0}}


def test_over_ipv6_answers_are_compressed_earlier() -> None:
    """Over IPv6 an answer is compressed from 1,220 bytes on, so that it stays in one packet."""
    wire = query("web.prod.svc.cluster.local.", "A", 4096)
    nameserver = Nameserver(zone_with(28))
    four, six = nameserver.respond(wire, family=4), nameserver.respond(wire, family=6)
    assert four is not None
    assert six is not None
    assert 1220 < len(four) <= 1480
    assert len(six) < len(four)
    assert struct.unpack_from("!6H", four) == struct.unpack_from("!6H", six)
